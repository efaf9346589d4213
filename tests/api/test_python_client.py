"""The client that `pip install lovage` brings, against a running API: both of its kinds."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from lovage import AsyncClient, Client, LovageError, PredictionFailed, Refused


@pytest.fixture
def client(api, ada):
    with Client(api.url, ada.key) as opened:
        yield opened


def test_a_model_is_run_its_output_streamed_and_inputs_are_batched(client, ada, worker) -> None:
    ada.model("echo", runtime="echo")
    assert client.run("ada/echo", {"text": "hello"}) == "hello"
    events = list(client.stream("ada/echo", {"text": "ab", "chunks": 3}))
    assert [event.kind for event in events] == ["output"] * 3 + ["done"]
    assert [event.number for event in events] == [1, 2, 3, 4]
    assert events[-1].prediction.output == ["ab"] * 3
    ended = client.batch("ada/echo", [{"text": "one"}, {"text": "two"}], progress=True)
    assert [each.output for each in ended] == ["one", "two"]
    with pytest.raises(PredictionFailed) as failed:
        client.run("ada/echo", {"text": "no", "fail": True})
    assert failed.value.prediction.status == "failed"


def test_predictions_are_listed_and_followed_and_a_misspelt_input_is_refused_if_wished(
    client, ada, worker
) -> None:
    ada.model("echo", runtime="echo")
    made = client.create("ada/echo", {"text": "ab", "chunks": 2})
    assert [event.data for event in client.follow(made)] == ["ab", "ab", None]
    assert client.run("ada/echo", {"text": "a", "txet": "b"}) == "a"
    assert [each.status for each in client.predictions(model="ada/echo", limit=1)] == ["succeeded"] * 2
    assert list(client.predictions(status="failed")) == []
    with pytest.raises(Refused, match="txet"):
        client.create("ada/echo", {"text": "a", "txet": "b"}, strict=True)


def test_who_has_no_key_learns_where_it_is_set(api, monkeypatch) -> None:
    monkeypatch.delenv("LOVAGE_TOKEN", raising=False)
    with Client(api.url) as nobody, pytest.raises(Refused, match="set LOVAGE_TOKEN"):
        nobody.run("ada/echo", {"text": "hello"})
    with Client(api.url, "lov_" + "0" * 64) as somebody, pytest.raises(Refused) as refused:
        somebody.run("ada/echo", {"text": "hello"})
    assert "LOVAGE_TOKEN" not in str(refused.value)


def test_without_a_worker_for_direct_calls_a_session_goes_over_http(client, ada, worker) -> None:
    ada.model("echo", runtime="echo")
    with client.sessions.open("ada/echo") as session:
        assert (session.run({"text": "hello"}), session.worker) == ("hello", None)
        assert [event.kind for event in session.stream({"text": "a", "chunks": 1})] == ["output", "done"]
        with pytest.raises(Refused, match="No worker takes direct calls"):
            session.score([("a", "b")])
    with (
        client.sessions.open("ada/echo", fallback=False) as session,
        pytest.raises(Refused, match="GRPC_PORT"),
    ):
        session.run({"text": "hello"})


def test_models_and_files_have_their_methods_and_refusals_their_code(client, tmp_path) -> None:
    client.models.create("echo", visibility="private")
    version = client.models.create_version("ada/echo", source="none", runtime="echo")
    assert [each["id"] for each in client.models.versions("ada/echo")] == [version["id"]]
    assert client.models.get("ada/echo")["latest_version"]["id"] == version["id"]
    assert client.models.version("ada/echo", version["id"])["id"] == version["id"]
    second = client.models.create_version(
        "ada/echo", source="none", runtime="echo", config={"keep_alive": 60}
    )
    assert client.models.release("ada/echo", version["id"])["id"] == version["id"]
    assert client.models.get("ada/echo")["latest_version"]["id"] != second["id"]
    report = client.models.check(source="none", runtime="echo", model="ada/echo")
    assert (report["problems"], report["current_version"]) == ([], version["id"])
    path = tmp_path / "a.txt"
    path.write_text("hello")
    file = client.files.upload(path, {"from": "ada"})
    assert (client.files.get(file["id"])["size"], file["metadata"]) == (5, {"from": "ada"})
    client.files.delete(file["id"])
    with pytest.raises(Refused) as refused:
        client.models.get("ada/none")
    assert (refused.value.code, refused.value.status) == ("not_found", 404)


def test_keys_are_made_and_revoked(api, admin) -> None:
    with Client(api.url, admin.key) as client:
        key = client.keys.create("mine")
        assert key["id"] in [each["id"] for each in client.keys.list()]
        client.keys.delete(key["id"])
        assert key["id"] not in [each["id"] for each in client.keys.list()]


def test_a_folder_is_pushed_once_and_its_parts_are_not_sent_again(client, tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    client.models.create("pushed")
    source = client.models.push(tmp_path, "ada/pushed")
    assert source == client.models.push(tmp_path, "ada/pushed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no files"):
        client.models.push(tmp_path / "empty", "ada/pushed")


def test_a_delivery_is_verified_by_the_secret(client) -> None:
    now, body = datetime.now(UTC), '{"id": "1"}'
    signature = Webhook(client.webhooks.secret()).sign("1", now, body)
    headers = {"webhook-id": "1", "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = signature
    assert client.webhooks.verify(body, headers) == {"id": "1"}
    with pytest.raises(LovageError) as refused:
        client.webhooks.verify(body + " ", headers)
    assert refused.value.code == "wrong_signature"


def test_deliveries_are_listed_and_sent_again_and_the_secret_is_replaced(api, admin, worker) -> None:
    with Client(api.url, admin.key) as client:
        admin.model("echo", runtime="echo")
        receiver = "https://example.com/hook"  # no courier runs here
        made = client.predict(f"{admin.name}/echo", {"text": "a"}, webhook=receiver)
        [delivery] = [each for each in client.webhooks.deliveries() if each["prediction"] == made.id]
        assert delivery["url"] == receiver
        assert client.webhooks.redeliver(made.id) == [delivery["id"]]
        before = client.webhooks.secret()
        secrets = client.webhooks.rotate_secret(overlap_hours=1)
        assert (secrets["previous_key"], secrets["key"] == before) == (before, False)
        assert client.webhooks.secrets() == secrets


async def test_the_client_for_asyncio_does_the_same(api, ada, worker) -> None:
    ada.model("echo", runtime="echo")
    async with AsyncClient(api.url, ada.key) as client:
        assert await client.run("ada/echo", {"text": "hello"}) == "hello"
        kinds = [event.kind async for event in client.stream("ada/echo", {"text": "ab", "chunks": 2})]
        assert kinds == ["output", "output", "done"]
        ended = await client.batch("ada/echo", [{"text": "one"}, {"text": "two"}])
        assert [each.output for each in ended] == ["one", "two"]
        async with client.sessions.open("ada/echo") as session:
            assert await session.run({"text": "over HTTP"}) == "over HTTP"
        assert "echo" in [model["name"] async for model in client.models.list()]
        made = [each async for each in client.predictions(model="ada/echo")]
        assert {each.status for each in made} == {"succeeded"}
        streamed = next(each for each in made if "stream" in each.data["urls"])
        assert [event.kind async for event in client.follow(streamed)][-1] == "done"
