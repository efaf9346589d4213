"""The `replicate` 1.x client, unmodified, with its base URL pointed here."""

import json
from collections.abc import Iterator

import pytest
import replicate
from platform_under_test import UpPlatform
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.webhook import Webhooks
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from waiting import eventually
from webhook_receiver import Receiver


@pytest.fixture
def remote(platform: UpPlatform) -> Iterator[Client]:
    client = replicate.Client(api_token=platform.key, base_url=platform.url)
    yield client
    client._client.close()  # it has no `close` of its own


def test_run_returns_the_output(remote: Client) -> None:
    assert remote.run("demo/echo", input={"text": "hello"}) == "hello"
    assert len(remote.run("demo/minilm", input={"text": "hello"})) == 384


def test_run_of_a_streaming_model_iterates(remote: Client) -> None:
    version = remote.models.get("demo/words").latest_version
    assert version is not None
    pieces = list(
        remote.run(f"demo/words:{version.id}", input={"prompt": "The ship", "max_new_tokens": 20, "seed": 1})
    )
    assert len(pieces) > 3
    assert all(isinstance(piece, str) for piece in pieces)


def test_stream_yields_events_in_order(remote: Client) -> None:
    events = list(remote.stream("demo/echo", input={"text": "a b\nc", "chunks": 5, "seconds": 0.3}))
    assert [event.event.value for event in events[-1:]] == ["done"]
    assert len([event for event in events if event.event.value == "output"]) == 5
    assert len({event.id for event in events}) == len(events)


def test_create_get_list_and_wait(remote: Client) -> None:
    made = remote.predictions.create(
        version=remote.models.get("demo/echo").latest_version, input={"text": "x", "seconds": 0.3}
    )
    assert made.status in ("starting", "processing")
    assert remote.predictions.get(made.id).id == made.id
    made.wait()
    assert (made.status, made.output) == ("succeeded", "x")
    assert made.metrics is not None
    assert made.metrics["predict_time"] >= 0.3
    assert made.id in [one.id for one in remote.predictions.list().results]


def test_cancel_stops_a_running_prediction(remote: Client) -> None:
    made = remote.predictions.create(model="demo/echo", input={"seconds": 60})
    eventually(lambda: remote.predictions.get(made.id).status == "processing", 15)
    made.cancel()
    eventually(lambda: remote.predictions.get(made.id).status == "canceled", 10)
    made.reload()
    assert made.status == "canceled"
    made.cancel()  # again: unchanged, no error


def test_a_failure_is_data_with_a_reason(remote: Client) -> None:
    with pytest.raises(ModelError, match="no luck"):
        remote.run("demo/echo", input={"fail": "no luck"})


def test_bad_input_is_a_422_that_names_the_field(remote: Client) -> None:
    with pytest.raises(ReplicateError) as caught:
        remote.predictions.create(model="demo/words", input={"prompt": "x", "max_new_tokens": -1})
    assert caught.value.status == 422
    assert "max_new_tokens" in (caught.value.detail or "")


def test_an_unknown_model_and_a_bad_token_are_told_apart(remote: Client, platform: UpPlatform) -> None:
    with pytest.raises(ReplicateError) as missing:
        remote.models.get("demo/nothing")
    assert missing.value.status == 404
    stranger = replicate.Client(api_token="lov_wrong", base_url=platform.url)
    with pytest.raises(ReplicateError) as unknown:
        stranger.models.get("demo/echo")
    stranger._client.close()
    assert unknown.value.status == 401


def test_models_are_listed_with_their_versions(remote: Client) -> None:
    found = {f"{model.owner}/{model.name}": model for model in remote.models.list().results}
    assert {"demo/echo", "demo/minilm", "demo/words", "demo/digits"} <= set(found)
    versions = remote.models.get("demo/words").versions.list().results
    assert (
        versions[0].openapi_schema["components"]["schemas"]["Input"]["properties"]["prompt"]["x-order"] == 0
    )


def test_files_are_uploaded_listed_and_deleted(remote: Client, tmp_path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello file")
    made = remote.files.create(path)
    assert made.size == 10
    assert remote.files.get(made.id).name == "note.txt"
    assert made.id in [one.id for one in remote.files.list()]
    assert remote.files.delete(made.id)


def test_a_webhook_is_delivered_and_its_signature_validates(remote: Client, receiver: Receiver) -> None:
    events = ["start", "completed"]
    made = remote.predictions.create(
        model="demo/echo", input={"text": "w"}, webhook=receiver.url, webhook_events_filter=events
    )
    eventually(lambda: len(receiver.requests) >= 2, 20)
    secret = remote.webhooks.default.secret()
    for request in receiver.requests:
        Webhooks.validate(headers=request.headers, body=request.body, secret=secret)
    bodies = sorted(
        (json.loads(request.body) for request in receiver.requests), key=lambda body: body["status"]
    )
    assert [body["status"] for body in bodies] == ["starting", "succeeded"]
    assert {body["id"] for body in bodies} == {made.id}
    assert bodies[1]["output"] == "w"


def test_a_tampered_webhook_does_not_validate(remote: Client, receiver: Receiver) -> None:
    remote.predictions.create(
        model="demo/echo", input={"text": "w"}, webhook=receiver.url, webhook_events_filter=["completed"]
    )
    eventually(lambda: receiver.requests, 20)
    request, secret = receiver.requests[0], remote.webhooks.default.secret()
    Webhooks.validate(headers=request.headers, body=request.body, secret=secret, tolerance=300)
    with pytest.raises(ValueError, match="signature"):
        Webhooks.validate(headers=request.headers, body=request.body + " ", secret=secret)
    standard = Webhook(secret.key)  # of the package `standardwebhooks`, whose rules are stricter
    assert standard.verify(request.body, request.headers) == json.loads(request.body)
    old = {"webhook-timestamp": str(int(request.headers["webhook-timestamp"]) - 3_600)}
    for headers, body in (
        (request.headers, request.body + " "),
        (request.headers | old, request.body),
        ({}, request.body),
    ):
        with pytest.raises(WebhookVerificationError):
            standard.verify(body, headers)
