"""The WebSocket with a real client; every message either way is validated against the committed schemas."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema
import pytest
import websockets
from api_people import Person, Server
from sqlalchemy import func
from waiting import eventually
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app.api.websocket.followed_predictions import as_input
from app.db.tables import UserRow
from app.domain.errors import InvalidRequest
from scripts.websocket_schemas import FOLDER, SCHEMAS, text_of

CHECKS = {name: jsonschema.Draft202012Validator(json.loads((FOLDER / name).read_text())) for name in SCHEMAS}


class Client:
    """Sends and receives messages that fit the schemas; `send_text` sends anything."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def send(self, **message: Any) -> None:
        CHECKS["client.schema.json"].validate(message)
        self.socket.send(json.dumps(message))

    def send_text(self, text: str) -> None:
        self.socket.send(text)

    def receive(self, *types: str, seconds: float = 15) -> dict[str, Any]:
        """The next message of these types; others before it are skipped."""
        until = time.monotonic() + seconds
        while True:
            message = json.loads(self.socket.recv(timeout=max(0.01, until - time.monotonic())))
            CHECKS["server.schema.json"].validate(message)
            if message["type"] in types:
                return dict(message)


@pytest.fixture
def dial() -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:

        def make(server: Server, person: Person | None, *, name: str = "test", **more: Any) -> Client:
            headers = {"Authorization": f"Bearer {person.key}"} if person else {}
            url = server.url.replace("http", "ws") + f"/ws/{name}"
            return Client(stack.enter_context(connect(url, additional_headers=headers, proxy=None, **more)))

        yield make


def test_the_committed_schemas_are_current() -> None:
    for name in SCHEMAS:
        assert (FOLDER / name).read_text("utf-8") == text_of(name), "run: python -m scripts.websocket_schemas"


def test_an_inference_is_accepted_and_answered(api: Server, ada: Person, echo, worker, dial) -> None:
    client = dial(api, ada)
    assert client.receive("welcome")["username"] == "ada"
    client.send(type="inference", model="ada/echo", inputs={"text": "hello"}, request_id="r1")
    accepted = client.receive("accepted")
    result = client.receive("result")
    assert accepted["request_id"] == result["request_id"] == "r1"
    assert (result["status"], result["prediction"]["output"]) == ("succeeded", "hello")
    assert result["prediction"]["source"] == "ws"
    assert ada.http.get(f"/v1/predictions/{accepted['prediction_id']}").json()["status"] == "succeeded"


def test_a_model_is_named_without_its_owner_and_a_text_is_its_first_input(
    api: Server, ada: Person, echo, worker, dial
) -> None:
    client = dial(api, ada)
    client.send(type="inference", model="echo", inputs="Hello, world!", stream=True)
    assert client.receive("result")["prediction"]["output"] == "Hello, world!"
    client.send(type="inference", model="absent", inputs="Hello")
    assert "could not be found" in client.receive("error")["detail"]
    assert as_input({"a": 1}, {}) == {"a": 1}
    with pytest.raises(InvalidRequest, match="takes no text"):
        as_input("x", {"properties": {"n": {"type": "integer"}, "file": {"type": "string", "format": "uri"}}})


def test_a_stream_comes_in_pieces_and_in_order(api: Server, ada: Person, echo, worker, dial) -> None:
    client = dial(api, ada)
    client.send(type="inference", model="ada/echo", inputs={"text": "a", "chunks": 5}, stream=True)
    pieces = [client.receive("chunk") for _ in range(5)]
    assert [piece["index"] for piece in pieces] == [0, 1, 2, 3, 4]
    assert client.receive("result")["prediction"]["output"] == [piece["data"] for piece in pieces]


def test_the_async_client_streams_several_predictions_at_once(api: Server, ada: Person, echo, worker) -> None:
    async def run() -> dict[str, list[str]]:
        url, headers = api.url.replace("http", "ws") + "/ws/async", {"Authorization": f"Bearer {ada.key}"}
        pieces: dict[str, list[str]] = {}
        ended = 0
        async with websockets.connect(url, additional_headers=headers, proxy=None) as socket:
            for name in ("a", "b", "c"):
                inputs = {"text": name, "chunks": 3, "seconds": 0.2}
                inference = {
                    "type": "inference",
                    "model": "ada/echo",
                    "inputs": inputs,
                    "stream": True,
                    "request_id": name,
                }
                await socket.send(json.dumps(inference))
            async for text in socket:
                message = json.loads(text)
                ended += message["type"] == "result"
                if message["type"] == "chunk":
                    pieces.setdefault(message["request_id"], []).append(message["data"])
                if ended == 3:
                    return pieces
        raise AssertionError("the connection ended first")

    assert asyncio.run(run()) == {name: [name] * 3 for name in "abc"}


def test_three_ways_to_say_who_one_is(api: Server, ada: Person, dial) -> None:
    assert dial(api, ada).receive("welcome")
    by_protocol = dial(api, None, subprotocols=["lovage", f"lovage.token.{ada.key}"])
    assert by_protocol.socket.subprotocol == "lovage"
    assert by_protocol.receive("welcome")
    by_message = dial(api, None)
    by_message.send(type="auth", token=ada.key)
    assert by_message.receive("welcome")


@pytest.mark.parametrize(
    "first", ['{"type": "auth", "token": "wrong"}', '{"type": "ping"}', "nonsense", "[]"]
)
def test_strangers_are_turned_away(api: Server, dial, first: str) -> None:
    client = dial(api, None)
    client.send_text(first)
    with pytest.raises(ConnectionClosed) as closed:
        client.socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_a_bad_client_id_is_refused(api: Server, ada: Person, dial) -> None:
    client = dial(api, ada, name="a%20b")
    with pytest.raises(ConnectionClosed) as closed:
        client.socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", None),
        ('"text"', "type"),
        ('{"type": "fly"}', "type"),
        ("{}", "type"),
        ('{"type": "inference", "model": "ada/echo"}', "inputs"),
        ('{"type": "inference", "model": 3, "inputs": {}}', "model"),
        ('{"type": "inference", "model": "ada/echo", "inputs": {"seconds": "x"}}', "input.seconds"),
        ('{"type": "inference", "model": "nobody/none", "inputs": {}}', None),
        ('{"type": "subscribe", "topics": ["weather"]}', "topics.0"),
        ('{"type": "status", "prediction_id": "01kam7vn3c9x0r2f4h6j8m0p2s"}', None),
        ('{"type": "cancel", "prediction_id": "short"}', "prediction_id"),
        ('{"type": "ping", "extra": 1}', "extra"),
        ('{"type": "ping", "request_id": "\\u0000"}', None),
    ],
)
def test_a_wrong_message_is_answered_with_an_error_and_the_connection_stays(
    api: Server, ada: Person, echo, dial, text: str, field: str
) -> None:
    client = dial(api, ada)
    client.send_text(text)
    assert client.receive("error").get("field") == field
    client.send(type="ping", request_id="p")
    assert client.receive("pong")["request_id"] == "p"


def test_binary_messages_are_read_as_text(api: Server, ada: Person, dial) -> None:
    client = dial(api, ada)
    client.socket.send(b'{"type": "ping"}')
    assert client.receive("pong")
    client.socket.send(b"\xff\xfe")
    assert client.receive("error")


def test_a_message_that_is_too_large_closes_with_1009(start_server, ada: Person, dial) -> None:
    client = dial(start_server(), ada)
    client.send_text(json.dumps({"type": "auth", "token": "x" * 20_000_000}))
    with pytest.raises(ConnectionClosed) as closed:
        client.receive("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_events_of_ones_own_predictions_cross_processes(
    api: Server, start_server, ada, bob, echo, worker, dial
) -> None:
    other: Server = start_server()
    mine, theirs = dial(other, ada), dial(other, bob)
    for client in (mine, theirs):
        client.send(type="subscribe", topics=["status", "inference"])
        client.receive("subscribed")
    prediction = ada.run("ada/echo", text="x")
    seen = []
    while not seen or seen[-1] != ("inference", "succeeded"):
        event = mine.receive("event")
        if event["data"]["prediction_id"] == prediction["id"]:
            seen.append((event["topic"], event["data"]["status"]))
    assert {("status", "starting"), ("status", "processing"), ("status", "succeeded")} <= set(seen)
    with pytest.raises(TimeoutError):
        theirs.receive("event", seconds=0.5)


def test_processing_is_sent_when_the_model_begins(api: Server, ada: Person, echo, worker, dial) -> None:
    worker.begins.clear()
    client = dial(api, ada)
    client.send(type="subscribe", topics=["status"])
    client.receive("subscribed")
    prediction = ada.run("ada/echo", text="x")
    url = prediction["urls"]["get"]
    eventually(lambda: ada.http.get(url).json()["waiting_for"]["what"] == "model")
    assert client.receive("event")["data"]["status"] == "starting"
    with pytest.raises(TimeoutError):
        client.receive("event", seconds=0.5)
    worker.begins.set()
    assert [client.receive("event")["data"]["status"] for _ in range(2)] == ["processing", "succeeded"]


def test_unsubscribed_topics_are_silent(api: Server, ada: Person, echo, worker, dial) -> None:
    client = dial(api, ada)
    client.send(type="subscribe", topics=["status", "queue"])
    assert client.receive("subscribed")["topics"] == ["queue", "status"]
    client.send(type="unsubscribe", topics=["status", "queue"])
    assert client.receive("subscribed")["topics"] == []
    ada.run("ada/echo", text="x")
    with pytest.raises(TimeoutError):
        client.receive("event", seconds=1)


def test_backend_and_queue_send_changes(api: Server, ada: Person, admin: Person, echo, worker, dial) -> None:
    plain, operator = dial(api, ada), dial(api, admin)
    for client in (plain, operator):
        client.send(type="subscribe", topics=["backend"])
    assert plain.receive("event")["data"]["live_workers"] >= 1
    assert "workers" in operator.receive("event")["data"]
    plain.send(type="subscribe", topics=["queue"])
    ada.run("ada/echo", text="x", seconds=2)
    while (event := plain.receive("event"))["topic"] != "queue" or not event["data"]["running"]:
        assert "queues" not in event["data"]


def test_ones_own_positions_in_the_queue_are_sent_as_they_change(
    api: Server, ada: Person, bob: Person, echo, dial
) -> None:
    first, theirs, last = (
        person.run("ada/echo", text="x")["id"] for person in (ada, bob, ada)
    )  # nobody runs them
    client = dial(api, ada)
    client.send(type="subscribe", topics=["queue"])
    queue = client.receive("event")["data"]
    assert [(entry["prediction_id"], entry["position"]) for entry in queue["mine"]] == [(first, 1), (last, 3)]
    assert queue["waiting"] == 3
    client.send(type="status", prediction_id=last)
    assert client.receive("status")["prediction"]["queue"]["position"] == 3
    bob.http.post(f"/v1/predictions/{theirs}/cancel")
    ada.http.post(f"/v1/predictions/{first}/cancel")
    while len((queue := client.receive("event")["data"])["mine"]) != 1 or queue["mine"][0]["position"] != 1:
        assert all(entry["prediction_id"] != theirs for entry in queue["mine"])
    assert queue["mine"][0]["prediction_id"] == last


def test_who_subscribes_later_is_sent_how_things_stand(api: Server, ada: Person, echo, worker, dial) -> None:
    for _ in range(2):
        client = dial(api, ada)
        client.send(type="subscribe", topics=["backend", "queue"])
        assert {client.receive("event")["topic"], client.receive("event")["topic"]} == {"backend", "queue"}


def close_code(client: Client, seconds: float = 10) -> int:
    """The code with which the server ends this connection."""
    with pytest.raises(ConnectionClosed) as closed:
        client.receive("never", seconds=seconds)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_revoked_key_and_a_disabled_user_are_sent_away(
    start_server, ada: Person, bob: Person, echo, database, dial
) -> None:
    server: Server = start_server(ws_recheck_seconds=0.2)
    revoked, disabled, other = dial(server, ada), dial(server, bob), dial(server, ada)
    revoked.send(
        type="inference", model="ada/echo", inputs={"text": "x"}, on_disconnect="cancel"
    )  # nobody runs it
    prediction = revoked.receive("accepted")["prediction_id"]
    with database.unit() as session:
        session.get(UserRow, bob.id).disabled_at = func.now()
    assert close_code(disabled) == 4401
    other.send(type="ping")
    assert other.receive("pong")
    [key] = ada.http.get("/v1/keys").json()["results"]
    fresh = server.services.people.keys.issue(ada.id, "fresh", ["predict"]).secret
    assert ada.http.delete(f"/v1/keys/{key['id']}").status_code == 204
    assert (close_code(revoked), close_code(other)) == (4401, 4401)
    read = httpx.get(
        f"{server.url}/v1/predictions/{prediction}",
        headers={"Authorization": f"Bearer {fresh}", "Prefer": "wait=10"},
        timeout=20,
        trust_env=False,
    )
    assert read.json()["status"] == "canceled"


def test_a_client_that_does_not_read_loses_events_and_nothing_else(
    api: Server, ada: Person, echo, worker, dial
) -> None:
    slow = dial(api, ada, compression=None, max_size=None, max_queue=1)
    slow.send(type="subscribe", topics=["status"])
    slow.receive("subscribed")
    slow.send(
        type="inference", model="ada/echo", inputs={"text": "x" * 900_000, "chunks": 8}, stream=True
    )  # 7 MB fill every buffer
    names = [
        ada.run("ada/echo", text="x")["id"] for _ in range(100)
    ]  # three events each, of 128 that may wait
    for name in names:
        ended = ada.http.get(f"/v1/predictions/{name}", headers={"Prefer": "wait=20"}).json()
        assert ended["status"] == "succeeded"
    pieces, events = [], 0
    while (message := slow.receive("chunk", "event", "result"))["type"] != "result" or len(pieces) < 8:
        pieces += [message["index"]] if message["type"] == "chunk" else []
        events += message["type"] == "event"
    assert pieces == list(range(8))
    ada.run("ada/echo", text="the next event says what was dropped")
    dropped = 0
    with contextlib.suppress(TimeoutError):
        while True:
            event = slow.receive("event", seconds=2)
            events, dropped = events + 1, dropped + event.get("dropped", 0)
    assert dropped > 0
    assert events + dropped >= 300


def test_status_and_cancel_of_ones_own_only(api: Server, ada: Person, bob: Person, echo, dial) -> None:
    prediction = ada.run("ada/echo", text="x")  # nobody runs it
    mine, theirs = dial(api, ada), dial(api, bob)
    mine.send(type="status", prediction_id=prediction["id"])
    assert mine.receive("status")["prediction"]["status"] == "starting"
    for kind in ("status", "cancel"):
        theirs.send(type=kind, prediction_id=prediction["id"])
        assert theirs.receive("error")["code"] == "not_found"
    mine.send(type="cancel", prediction_id=prediction["id"])
    assert mine.receive("status")["prediction"]["status"] == "canceled"
    mine.send(type="status")
    assert "live_workers" in mine.receive("status")["platform"]


@pytest.mark.parametrize(("wish", "ends"), [("cancel", "canceled"), ("continue", "starting")])
def test_leaving_cancels_only_what_was_created_so(
    api: Server, ada: Person, echo, dial, wish: str, ends: str
) -> None:
    client = dial(api, ada)
    client.send(type="inference", model="ada/echo", inputs={"text": "x"}, on_disconnect=wish)
    prediction = client.receive("accepted")["prediction_id"]
    client.socket.close()
    until = time.monotonic() + (10 if ends == "canceled" else 1)
    while (
        status := ada.http.get(f"/v1/predictions/{prediction}").json()["status"]
    ) != ends or ends == "starting":
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    assert status == ends


def test_a_silent_client_is_sent_pings_and_then_disconnected(start_server, ada: Person, dial) -> None:
    server: Server = start_server(ws_idle_seconds=0.6)
    client = dial(server, ada)
    assert client.receive("ping")
    with pytest.raises(ConnectionClosed) as closed:
        client.receive("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4408
    talker = dial(server, ada)
    for _ in range(6):
        talker.receive("ping")
        talker.send(type="pong")


def test_limits_hold_here_too(start_server, ada: Person, echo, dial) -> None:
    server: Server = start_server(rate_limit_creates="3/minute", rate_limit_calls="")
    client = dial(server, ada)
    for _ in range(5):
        client.send(type="inference", model="ada/echo", inputs={"text": "x"})
    assert [client.receive("accepted", "error")["type"] for _ in range(5)] == ["accepted"] * 3 + ["error"] * 2


def closed_with(client: Client) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        client.socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    return int(closed.value.rcvd.code)


def test_a_user_has_so_many_connections_and_others_theirs(
    start_server, ada: Person, bob: Person, dial
) -> None:
    server: Server = start_server(ws_connections_per_user=2)
    first, second = dial(server, ada), dial(server, ada)
    assert {client.receive("welcome")["username"] for client in (first, second)} == {"ada"}
    assert closed_with(dial(server, ada)) == 4429
    assert dial(server, bob).receive("welcome")["username"] == "bob"
    first.socket.close()
    eventually(lambda: not server.services.sockets._open[str(ada.id)] > 1)
    assert dial(server, ada).receive("welcome")["username"] == "ada"


def test_failed_credentials_count_as_calls_of_their_address(start_server, dial) -> None:
    server: Server = start_server(rate_limit_calls="3/minute")
    codes = []
    for first in ["x" * 10_000, *['{"type": "auth", "token": "wrong"}'] * 3]:
        client = dial(server, None)
        client.send_text(first)
        codes.append(closed_with(client))
    assert codes == [4401] * 3 + [4429]


def test_many_clients_receive_the_same(api: Server, ada: Person, echo, worker, dial) -> None:
    clients = [dial(api, ada, name=f"c{n}") for n in range(40)]
    for client in clients:
        client.send(type="subscribe", topics=["inference"])
    for client in clients:
        client.receive("subscribed")
    prediction = ada.run("ada/echo", text="x")
    assert {client.receive("event")["data"]["prediction_id"] for client in clients} == {prediction["id"]}


def test_a_restart_closes_with_the_code_to_come_back(api_settings, ada: Person) -> None:
    import os
    import signal
    import socket
    import subprocess
    import sys

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "LOVAGE_ENV": "development",
        "DATABASE_URL": api_settings.database_url,
        "REDIS_URL": api_settings.redis_url,
        "SECRET_KEY": api_settings.secret_key,
        "LOVAGE_DATA_DIR": str(api_settings.lovage_data_dir),
        "API_DRAIN_SECONDS": "0",
    }
    process = subprocess.Popen([sys.executable, "-m", "app", "api", "--port", str(port)], env=env)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        headers = {"Authorization": f"Bearer {ada.key}"}
        with connect(f"ws://127.0.0.1:{port}/ws/x", additional_headers=headers, proxy=None) as opened:
            opened.recv(timeout=5)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                opened.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    finally:
        process.terminate()
        process.wait(20)
