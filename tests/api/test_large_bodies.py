"""Large bodies are their senders' matter: nobody else waits for them, and they do not take all memory."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import orjson
import pytest
from api_people import Person, Server

from app.api import body_gate
from app.api.bodies import MAX_CONTAINERS, MAX_MEMBERS, MAX_VALUES, parse_json
from app.api.body_gate import BodyGate
from app.domain.errors import FieldError, InvalidRequest, Unavailable
from app.runtimes.encoders.embedding import INPUTS
from app.services.catalogue.schema_compile import compile_schema

MB = 1_000_000
LISTS = b"[" + b"[]," * 3_300_000 + b"[]]"  # seconds to parse, gigabytes of lists


@pytest.fixture(scope="module")
def wide(start_server) -> Server:
    """With the body limit of production."""
    server: Server = start_server(max_body_bytes=10 * MB)
    return server


@pytest.mark.parametrize("path", ["/v1/auth/register", "/v1/auth/token", "/v1/keys", "/v1/users/ada"])
def test_64_kb_are_the_most_for_accounts(wide: Server, ada: Person, path: str) -> None:
    method = "PATCH" if "users" in path else "POST"
    answer = httpx.request(method, wide.url + path, content=b"x" * 64_001, headers=ada.http.headers)
    assert answer.status_code == 413
    assert "at most 64000 bytes here" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/chat/completions", "/v1/models", "/v1/keys"])
def test_who_calls_is_known_before_a_body_is_looked_at(wide: Server, path: str) -> None:
    answer = httpx.post(wide.url + path, content=b"{not json", headers={"content-type": "application/json"})
    assert answer.status_code == 401


def test_an_address_over_its_limit_is_refused_before_its_body_is_looked_at(start_server) -> None:
    server: Server = start_server(rate_limit_calls="2/minute")
    sent = [httpx.post(f"{server.url}/v1/auth/register", content=b"{not json") for _ in range(3)]
    assert [answer.status_code for answer in sent] == [422, 422, 429]


def test_values_without_end_are_refused_by_a_sentence_before_they_are_parsed() -> None:
    began = time.monotonic()
    for body in (
        LISTS,
        b"[" + b"1," * MAX_VALUES + b"1,1]",
        b"{" + b",".join(b'"%d":1' % n for n in range(MAX_MEMBERS + 1)) + b"}",
    ):
        with pytest.raises(InvalidRequest, match="send large data as a file"):
            parse_json(body)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("odd", ['"', "\\", '\\"', "\\\\", "[", 'a","b', "\\\\\\", ""])
def test_what_stands_in_strings_counts_for_nothing(odd: str) -> None:
    text = '[{]}:,"\\' * (MAX_CONTAINERS // 2) + odd
    value = {"text": [text, odd, "[" * MAX_CONTAINERS], odd or "x": 1}
    assert parse_json(orjson.dumps(value)) == value
    with pytest.raises(InvalidRequest, match="lists and objects"):
        parse_json(orjson.dumps([text, odd, *([] for _ in range(MAX_CONTAINERS))]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_named_as_such(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match=r"byte order mark \(BOM\): send UTF-8 without one"):
        parse_json('{"input": {}}'.encode(encoding))


def test_a_long_prompt_full_of_brackets_is_no_offence(wide: Server, ada: Person) -> None:
    ada.model("m")
    body = {"version": "ada/m", "input": {"text": "[:," * 300_000}}
    answer = httpx.post(f"{wide.url}/v1/predictions", json=body, headers=ada.http.headers, timeout=60)
    assert answer.status_code == 201, answer.text[:300]
    assert answer.json()["input"]["text"] == body["input"]["text"]


def test_a_million_token_ids_are_looked_through_at_once() -> None:
    check = compile_schema(INPUTS["properties"]["text"])
    errors: list[FieldError] = []
    texts = [[1, 2, 3, 99_999] * 128] * 2_000
    began = time.monotonic()
    assert check(texts, "input.text", errors) == texts
    assert time.monotonic() - began < 0.5
    assert errors == []
    for wrong in (-1, 10_000_001, True, 1.5, "1"):
        check([[1, wrong, 2]], "input.text", errors)
        assert errors.pop(), wrong
        errors.clear()
    assert check([[1, 2.0]], "input.text", errors) == [[1, 2]]
    assert errors == []


SENDER = """
import socket, sys, threading, time
host, port, path, key, seconds = sys.argv[1:]
body = b"[" + b"[]," * 3_300_000 + b"[]]" if not key else (
    b'{"version": "ada/m", "input": {"text": [' + b"1234567," * 1_100_000 + b"1]}}")
key = f"Authorization: Bearer {key}\\r\\n" if key else ""
head = f"POST {path} HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n{key}"
head = (head + f"Content-Length: {len(body)}\\r\\n\\r\\n").encode()
def send():
    while True:
        with socket.create_connection((host, int(port))) as connection:
            try:
                connection.sendall(head + body)
                connection.recv(65536)
            except OSError:
                pass
print("ready", flush=True)
for _ in range(8):
    threading.Thread(target=send, daemon=True).start()
time.sleep(float(seconds))
"""


def answers_of_health(server: Server, path: str, key: str = "") -> list[float]:
    """Seconds that /health took while eight callers sent 10 MB bodies for some seconds."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    command = [sys.executable, "-c", SENDER, host, port, path, key, "2"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as senders,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        assert senders.stdout is not None
        senders.stdout.readline()
        taken = []
        while senders.poll() is None:
            began = time.monotonic()
            assert http.get("/health").status_code == 200
            taken.append(time.monotonic() - began)
            time.sleep(0.02)
    return sorted(taken)


@pytest.mark.alone
@pytest.mark.parametrize("path", ["/v1/auth/register", "/v1/predictions"])
def test_bodies_without_a_key_keep_nobody_waiting(wide: Server, path: str) -> None:
    taken = answers_of_health(wide, path)
    assert len(taken) > 20
    assert taken[int(len(taken) * 0.95)] < 0.1


@pytest.mark.alone
def test_bodies_with_a_key_keep_nobody_waiting_for_long(wide: Server, ada: Person) -> None:
    ada.model("m")
    taken = answers_of_health(wide, "/v1/predictions", ada.key)
    assert taken[len(taken) // 2] < 0.1
    assert taken[-1] < 1.0


@pytest.fixture
def gate() -> Iterator[BodyGate]:
    made = BodyGate(budget=100)
    yield made
    made.close()


async def test_one_callers_large_bodies_leave_room_for_another(gate: BodyGate) -> None:
    held = [await gate.hold("ada", 20), await gate.hold("ada", 20)]
    waiting = asyncio.ensure_future(gate.hold("ada", 20))
    await asyncio.sleep(0)
    assert not waiting.done(), "40 held, 60 free: with 20 more she would have more than is left"
    bob = await gate.hold("bob", 30)
    held.pop().release()
    assert not waiting.done()
    bob.release()
    bob.release()
    (await waiting).release()
    whole = await asyncio.wait_for(gate.hold("carol", 80), 1)
    whole.release()


async def test_a_wait_that_is_too_long_or_given_up_leaves_nothing_behind(
    gate: BodyGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_gate, "WAIT_SECONDS", 0.05)
    held = await gate.hold("ada", 1_000)
    with pytest.raises(Unavailable):
        await gate.hold("bob", 10)
    left = [asyncio.ensure_future(gate.hold("bob", 10)) for _ in range(2)]
    await asyncio.sleep(0)
    left[0].cancel()
    held.release()  # admits the second, which is canceled before it knows
    left[1].cancel()
    await asyncio.gather(*left, return_exceptions=True)
    (await asyncio.wait_for(gate.hold("carol", 100), 1)).release()


async def test_what_is_large_is_parsed_on_another_thread(gate: BodyGate) -> None:
    assert await gate.run(threading.get_ident) != threading.get_ident()
