"""Rows about HTTP itself: what is none, what never ends, paths, lists, and too many calls."""

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx
from abuse_case import CREATE, Case, gets
from abuse_stage import Answer, Stage
from rows_bodies import head

CLOSED = 0
GET = b"GET /v1/predictions HTTP/1.1\r\nHost: x\r\n"
HALF_SENT = 150
HEALTHY_WITHIN = 2.0
HEAD_SECONDS = 10.0  # as in app/api/protocol.py; promised to operators
SLACK = 8.0

BROKEN = {
    "a header of 256 kB": (GET + b"X: " + b"y" * 262_144 + b"\r\n\r\n", (431, 400, CLOSED)),
    "a header of 256 kB that does not end": (GET + b"X: " + b"y" * 262_144, (431, 400, CLOSED)),
    "a header's name of 256 kB": (GET + b"y" * 262_144 + b": x\r\n\r\n", (431, 400, CLOSED)),
    "10,000 headers": (
        GET + b"".join(b"X-%d: yyyy\r\n" % n for n in range(10_000)) + b"\r\n",
        (431, 400, CLOSED),
    ),
    "a URL of 128 kB": (b"GET /" + b"y" * 131_072 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 400, CLOSED)),
    "a URL of 128 kB that does not end": (b"GET /" + b"y" * 131_072, (414, 400, CLOSED)),
    "a query of 20 kB": (b"GET /v1/predictions?x=" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414,)),
    "a word": (b"NONSENSE\r\n\r\n", (400, CLOSED)),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + b"\x00" * 190, (400, CLOSED)),
    "zeroes": (b"\x00" * 100_000, (400, CLOSED)),
    "newlines": (b"\r\n" * 50_000 + b"x\r\n\r\n", (400, CLOSED)),
    "HTTP/9": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", (400, CLOSED)),
    "a method that is none": (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", (400, CLOSED)),
    "NUL in a header": (GET + b"X: a\x00b\r\n\r\n", (400, CLOSED)),
    "a header that is folded": (GET + b"X: a\r\n b\r\n\r\n", (400, 401, CLOSED)),
    "a space before the colon": (GET + b"Content-Length : 5\r\n\r\nhello", (400, CLOSED)),
    "the proxy's way of asking": (
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        (400, 404, 405, CLOSED),
    ),
}
LENGTHS = {
    "a negative length": ("Content-Length: -1",),
    "a length with a plus": ("Content-Length: +5",),
    "a length that is no number": ("Content-Length: five",),
    "two lengths": ("Content-Length: 2", "Content-Length: 50"),
    "a length and chunks": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "chunked twice": ("Transfer-Encoding: chunked, chunked",),
    "chunked and then not": ("Transfer-Encoding: chunked, identity",),
    "chunked by a tab": ("Transfer-Encoding:\tchunked", "Content-Length: 5"),
    "chunked with a letter too many": ("Transfer-Encoding: xchunked", "Content-Length: 5"),
}


def broken() -> Iterator[Case]:
    for name, (request, statuses) in BROKEN.items():
        yield Case("broken-http", name, lambda stage, request=request: stage.raw(request), statuses)
    smuggled = b"0\r\n\r\nGET /v1/account HTTP/1.1\r\nHost: x\r\n\r\n"
    for name, lines in LENGTHS.items():
        yield Case(
            "broken-http",
            name,
            lambda stage, lines=lines: stage.raw(head(stage, CREATE, *lines) + smuggled),
            (400, CLOSED),
        )
    chunked = "Transfer-Encoding: chunked"
    sizes = {
        "a chunk's size that is none": b"zz",
        "a negative chunk": b"-5",
        "a chunk of 2^64": b"1" + b"0" * 16,
    }
    for name, size in sizes.items():
        act = lambda stage, size=size: stage.raw(head(stage, CREATE, chunked) + size + b"\r\n")  # noqa: E731
        yield Case("broken-http", name, act, (400, 413, CLOSED))
    yield Case("broken-http", "a host that is none", strange_host, (400, 422))


def strange_host(stage: Stage) -> Iterator[Answer]:
    for host in ("evil.example/x?", "a b", "x" * 5_000, "[::1", "a\tb", "<script>"):
        yield stage.ada.post(CREATE, {"version": "ada/echo", "input": {"text": "x"}}, headers={"Host": host})


def half_sent() -> Iterator[Case]:
    yield Case(
        "half-sent",
        "150 heads and bodies that stop in the middle, one head that drips",
        half_of_150,
        (408,),
        60,
        alone=True,
    )


def half_of_150(stage: Stage) -> Iterator[Answer]:
    """Others are served meanwhile; each head is given up after its time. A body may pause for longer."""
    parts = [
        GET[:-2],
        b"G",
        GET + b"Authorization: Bear",
        head(stage, CREATE, "Content-Length: 500") + b'{"version": "a',
    ]
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        connections = [stack.enter_context(stage.connect()) for _ in range(HALF_SENT)]
        for number, connection in enumerate(connections):
            connection.sendall(parts[number % 4])
        for path in ("/health", "/v1/account"):
            asked = time.monotonic()
            assert stage.ada.call("GET", path).status == 200
            assert time.monotonic() - asked < HEALTHY_WITHIN
        yield dripping(connections[2], began)
        for number, connection in enumerate(connections):
            if number % 4 != 3 and number != 2:
                yield said_at_last(connection, began)


def said_at_last(connection: socket.socket, began: float) -> Answer:
    """What a connection is told when it has been silent for too long."""
    connection.settimeout(HEAD_SECONDS + SLACK)
    answer = Answer.parsed(connection.recv(65536))
    assert HEAD_SECONDS - 2 < time.monotonic() - began < HEAD_SECONDS + SLACK
    return answer


def dripping(connection: socket.socket, began: float) -> Answer:
    """A byte now and then does not buy more time."""
    connection.settimeout(0.5)
    while time.monotonic() - began < HEAD_SECONDS + SLACK:
        with contextlib.suppress(TimeoutError):
            if answer := connection.recv(65536):
                return Answer.parsed(answer)
        connection.sendall(b"x")
    raise AssertionError("it was never given up")


def lists() -> Iterator[Case]:
    for path in (CREATE, "/v1/models", "/v1/files"):
        for limit in ("-1", "0", "1000000000", "ten", "1.5", ""):
            yield gets("lists", f"limit={limit} at {path}", f"{path}?limit={limit}", (422,))
        for cursor in (
            "garbage",
            "%00",
            "%F0%9F%99%82",
            "'; DROP TABLE users",
            "x" * 501,
            "-1",
            "eyJhIjoxfQ==",
        ):
            yield gets("lists", f"cursor={cursor[:20]} at {path}", f"{path}?cursor={cursor}", (422,))
    for query in (
        "created_after=soon",
        "created_before=99999-01-01",
        "status=none",
        "model=" + "x" * 200,
        "created_after=1e400",
    ):
        yield gets("lists", query[:40], f"{CREATE}?{query}", (422,))
    yield Case("lists", "the audit log's", audit_lists, (422,))


def audit_lists(stage: Stage) -> Iterator[Answer]:
    for query in ("cursor=x", "limit=-1", "limit=1000000000", "cursor=" + "9" * 30, "action=%00"):
        yield stage.person("root", admin=True).call("GET", f"/v1/audit?{query}")


def paths() -> Iterator[Case]:
    tricks = [
        "/v1/../etc/passwd",
        "/v1/%2e%2e/etc/passwd",
        "/v1/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "//etc/passwd",
        "/v1//predictions",
        f"{CREATE}/%00",
        f"{CREATE}/..%2f..%2fetc",
        "/v1/models/a%00/b",
        "/v1/models/ada/%2e%2e",
        "/v1/models/ada%2fecho/x",
        "/v1/files/%2e%2e",
        "/v1/files/..%2f..%2fetc%2fpasswd/content",
        "/v1/files/%00/content",
        "/v1/files/content//etc/passwd",
        "/static/../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/%F0%9F%99%82/x",
        "/v1/predictions/%ff",
    ]
    for path in tricks:
        yield Case("paths", path, lambda stage, path=path: unnormalised(stage, path), (404, 400, 422))
    for key in (
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "files/%00",
        "a//b",
        "..",
        ".",
    ):
        path = f"/v1/files/content/{key}?expires=9999999999&signature=x"
        yield Case(
            "paths", f"the signed file {key}", lambda stage, path=path: unnormalised(stage, path), (404, 422)
        )
    yield Case("paths", "names of uploaded files", file_names, (201, 200))


def unnormalised(stage: Stage, path: str) -> Answer:
    """As it is written: clients would make it neat."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {stage.ada.key}",
        "Connection: close",
        "",
        "",
    ]
    return stage.raw("\r\n".join(lines).encode())


def file_names(stage: Stage) -> Iterator[Answer]:
    """A name is a label: no part of a path, and harmless in a header."""
    for name in (
        "../../etc/passwd",
        "/etc/passwd",
        "a\x00b",
        'a"\r\nX: y',
        "..",
        "x" * 5_000,
        "🙂.png",
        "C:\\windows\\x",
    ):
        made = stage.ada.call(
            "POST", "/v1/files", **{"files": {"content": ("plain.txt", b"hello")}, "data": {"filename": name}}
        )
        yield made
        assert not set("/\\\x00\r\n") & set(made.json()["name"])
        read = stage.ada.call("GET", f"/v1/files/{made.json()['id']}/content")
        assert (read.body, "x" in read.headers) == (b"hello", False)
        yield read


def rates() -> Iterator[Case]:
    yield Case(
        "rate-limits",
        "more calls than are allowed, each from another forged address",
        forged_addresses,
        (401, 429),
    )
    yield Case("rate-limits", "more with a good key", forged_with_a_key, (200, 429), seconds=30.0)


FORGED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP")


def too_many(client: httpx.Client, headers: dict[str, str]) -> Iterator[Answer]:
    """420 calls where 400 a minute are allowed."""
    found = []
    for number in range(420):
        address = f"203.0.113.{number % 250}"
        named = {name: f"for={address}" if name == "Forwarded" else address for name in FORGED}
        found.append(Answer.of(client.get("/v1/account", headers=headers | named)))
    assert found[0].status != 429
    assert found[-1].status == 429
    assert int(found[-1].headers["retry-after"]) >= 1
    assert found[-1].headers["ratelimit"].startswith('"calls";r=0;')
    yield from found


def forged_addresses(stage: Stage) -> Iterator[Answer]:
    with stage.somebody() as client:
        yield from too_many(client, {})


def forged_with_a_key(stage: Stage) -> Iterator[Answer]:
    with stage.somebody() as client:
        yield from too_many(client, stage.person("hasty").headers)


CASES = [case for rows in (broken, half_sent, lists, paths, rates) for case in rows()]
