"""The real `replicate` 1.x client, unmodified, against our API."""

import io

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError


@pytest.fixture
def client(replicate_client, ada) -> Client:
    return replicate_client(ada)


def test_run_by_name_by_version_and_streaming(client, echo, worker):
    assert client.run("ada/echo", input={"text": "Hi"}) == "Hi"
    version = echo["latest_version"]["id"]
    assert client.run(f"ada/echo:{version}", input={"text": "Hi"}) == "Hi"
    assert client.run(f"ada/echo:{version}", input={"text": "Hi"}, wait=False) == "Hi"
    pieces = [str(event) for event in client.stream("ada/echo", input={"text": " tok", "chunks": 3})]
    assert "".join(pieces) == " tok tok tok"


def test_a_failed_run_raises_its_sentence(client, echo, worker):
    with pytest.raises(ModelError, match="asked to fail"):
        client.run("ada/echo", input={"fail": True})


def test_predictions_are_created_read_listed_and_canceled(client, echo):
    version = echo["latest_version"]["id"]
    made = client.predictions.create(version=version, input={"text": "x"}, webhook="https://example.com/hook")
    assert (made.status, made.version) == ("starting", version)
    assert client.predictions.get(made.id).id == made.id
    assert made.id in [one.id for one in client.predictions.list()]
    made.cancel()
    assert made.status == "canceled"
    by_model = client.models.predictions.create(("ada", "echo"), input={"text": "x"}, wait=1)
    assert by_model.status == "starting"


def test_nothing_is_collected_or_trained_and_a_training_is_refused_by_its_sentence(client, echo):
    assert (list(client.collections.list()), list(client.trainings.list())) == ([], [])
    version = echo["latest_version"]["id"]
    with pytest.raises(ReplicateError, match="trains none") as told:
        client.trainings.create(version=f"ada/echo:{version}", input={}, destination="ada/mine")
    assert told.value.status == 422


def test_pages_follow_each_other(client, echo, ada):
    made = {ada.run("ada/echo")["id"] for _ in range(105)}
    pages = list(_pages(client))
    assert {one.id for page in pages for one in page.results} == made
    assert len(pages) == 2


def _pages(client):
    page = client.predictions.list()
    yield page
    while page.next:
        page = client.predictions.list(page.next)
        yield page


def test_waiting_and_reloading(client, echo, worker):
    made = client.predictions.create(
        version=echo["latest_version"]["id"], input={"text": "x", "seconds": 0.3}
    )
    made.wait()
    assert (made.status, made.output) == ("succeeded", "x")


def test_the_catalogue(client, echo, ada):
    assert [one.name for one in client.models.list()] == ["echo"]
    assert [one.name for one in client.models.search("ECH")] == ["echo"]
    model = client.models.get("ada/echo")
    assert model.latest_version.id == echo["latest_version"]["id"]
    assert model.latest_version.openapi_schema["components"]["schemas"]["Input"]
    assert [one.id for one in model.versions.list()] == [model.latest_version.id]
    assert model.versions.get(model.latest_version.id).cog_version
    made = client.models.create(owner="ada", name="new", visibility="private", hardware="cpu")
    assert made.visibility == "private"
    assert client.accounts.current().username == "ada"
    assert client.hardware.list() == []


def test_a_file_is_uploaded_and_read_back(client, ada):
    made = client.files.create(io.BytesIO(b"hello"), metadata={"a": 1})
    assert (made.size, made.metadata) == (5, {"a": 1})
    assert client.files.get(made.id).etag == made.etag
    assert [one.id for one in client.files.list()] == [made.id]
    assert client.files.delete(made.id) is True


def test_errors_are_sentences(client, echo):
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(version=echo["latest_version"]["id"], input={"chunks": "many"})
    assert caught.value.status == 422
    assert "input.chunks" in caught.value.detail
    with pytest.raises(ReplicateError) as caught:
        client.models.get("ada/absent")
    assert caught.value.status == 404


def test_the_webhook_secret_is_one_that_the_client_reads(client):
    assert client.webhooks.default.secret().key.startswith("whsec_")
