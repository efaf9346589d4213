"""What no request may do: answers are 4xx in the one shape of errors, and a good request works afterwards."""

import json
import socket
from urllib.parse import urlsplit

import pytest

WANTED = b'{"version": "ada/echo", "input": {"text": %s}}'


def post(person, body, **headers):
    return person.http.post("/v1/predictions", content=body, headers={"Content-Type": "application/json"} | headers)


@pytest.fixture(autouse=True)
def good_requests_work_afterwards(ada, echo):
    yield
    assert ada.run("ada/echo", text="still here 🙂")["input"]["text"] == "still here 🙂"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"a":1}{"b":2}', b"[]", b"null", b"5", b'"x"', b"\xff\xfe{\x00}\x00", b'{"a": "\xff"}',
        b"/* hi */ {}", b"[" * 1000 + b"]" * 1000, b"[" * 100_000 + b"]" * 100_000,
        b'{"version":"ada/echo","input":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}",
        WANTED % b"NaN", WANTED % b"Infinity", WANTED % b"1e999", WANTED % b"9223372036854775808",
        WANTED % (b"9" * 20_000), WANTED % b'"a\\u0000b"', WANTED % b'"\\ud800"', WANTED % b'"NaN\\u0000"',
        b'{"version":"ada/echo","input":{"a\\u0000":1}}', b'{"version":"ada/echo","input":{"\\ud800":1}}',
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_kept_is_refused(ada, body):
    answer = post(ada, body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(answer.json()["detail"], str)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_same_bodies_are_refused_where_pydantic_reads(ada):
    for body in (b"", b"{", b"[" * 100_000, b'{"name": NaN}', b'{"name": "a\\u0000"}', b"null"):
        answer = ada.http.post("/v1/models", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("text", ["\u202eabc", "e" + "\u0301" * 5000, "\x07\x1b[31m", "🙂", "\u2028"])
def test_odd_text_is_kept_unchanged(ada, text):
    assert ada.run("ada/echo", text=text)["input"]["text"] == text


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Type": "text/plain"}])
def test_other_encodings_are_refused(ada, headers):
    assert post(ada, b"{}", **headers).status_code == 415


def test_a_large_body_is_refused_before_it_is_read(ada):
    assert post(ada, b"x" * 1_000_001).status_code == 413

    def blocks():
        for _ in range(64):
            yield b" " * 100_000

    answer = post(ada, blocks())
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def raw(api, request):
    where = urlsplit(api.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(request)
        connection.settimeout(10)
        return connection.recv(4096)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000000\r\n\r\n",
        b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /v1/predictions HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 262_144 + b"\r\n\r\n",
        b"GET /" + b"y" * 131_072 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_broken_requests_get_a_4xx_or_a_closed_door(api, head):
    answer = raw(api, head)
    assert not answer or b" 4" in answer[:12]


def test_a_host_header_that_is_none_is_refused(ada):
    answer = ada.http.post("/v1/predictions", headers={"Host": "evil.example/x?"}, json={"version": "ada/echo", "input": {}})
    assert answer.status_code in (400, 422)


def test_an_error_names_the_request_and_an_own_id_is_kept(ada):
    assert ada.http.get("/v1/nothing", headers={"X-Request-Id": "abc-1"}).json()["request_id"] == "abc-1"
    odd = ada.http.get("/v1/nothing", headers={"X-Request-Id": "a b\t<script>"})
    assert odd.json()["request_id"] not in ("a b\t<script>", None)
    assert odd.status_code == 404


@pytest.mark.parametrize("path", ["/v1/../etc", "/v1/%2e%2e/etc", "/v1//predictions", "/v1/predictions/%00", "/v1/models/a%00/b"])
def test_path_tricks_find_nothing(ada, path):
    answer = ada.http.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_a_wrong_method_is_told(ada):
    assert ada.http.put("/v1/predictions", json={}).status_code == 405


def test_long_names_are_harmless(ada):
    answer = post(ada, json.dumps({"version": "x" * 100_000, "input": {}}).encode())
    assert answer.status_code == 422
    assert len(answer.text) < 5_000
    answer = post(ada, json.dumps({"version": "ada/echo", "input": {"k" * 100_000: 1}}).encode())
    assert (answer.status_code, len(answer.text) < 5_000) == (422, True)
