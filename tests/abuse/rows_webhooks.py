"""Rows about addresses that a server must not call: refused when named, and again when connecting."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from abuse_case import CREATE, Case, posts
from abuse_stage import MODEL, Answer, Stage, Trap

from app.outbound import addresses as outbound_addresses
from app.outbound.addresses import AddressPolicy
from app.outbound.webhook_sender import Sender
from app.worker.courier import Courier

INNER = {
    "dotted": "127.0.0.1",
    "another of the net": "127.8.8.8",
    "short": "127.1",
    "shorter": "127.0.1",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "dotted hexadecimal": "0x7f.0x0.0x0.0x1",
    "octal": "0177.0.0.1",
    "long octal": "017700000001",
    "mixed": "0x7f.1",
    "padded": "127.000.000.001",
    "trailing dot": "127.0.0.1.",
    "circled digits": "①②⑦.⓪.⓪.①",
    "wide dots": "127。0。0。1",
    "zero": "0",
    "all zeroes": "0.0.0.0",
    "name": "localhost",
    "name with a dot": "localhost.",
    "in capitals": "LOCALHOST",
    "below the name": "a.localhost",
    "IPv6": "[::1]",
    "IPv6 unspecified": "[::]",
    "mapped": "[::ffff:127.0.0.1]",
    "mapped in hexadecimal": "[::ffff:7f00:1]",
    "compatible": "[::127.0.0.1]",
    "with a zone": "[::1%25lo]",
    "userinfo": "example.com@127.0.0.1",
    "userinfo with a port": "example.com:80@127.0.0.1",
    "percent": "127.0.0.1%00.example.com",
    "encoded": "%31%32%37.0.0.1",
}
RANGES = {
    "RFC 1918, 10": "10.0.0.1",
    "RFC 1918, 172.16": "172.16.0.1",
    "RFC 1918, 172.31": "172.31.255.255",
    "RFC 1918, 192.168": "192.168.1.1",
    "metadata": "169.254.169.254",
    "metadata in decimal": "2852039166",
    "metadata by name": "metadata.internal",
    "metadata over IPv6": "[fd00:ec2::254]",
    "link-local": "[fe80::1]",
    "CGNAT": "100.64.0.1",
    "ULA": "[fc00::1]",
    "ULA, fd": "[fd12::1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "NAT64, local": "[64:ff9b:1::a00:1]",
    "6to4": "[2002:7f00:1::]",
    "6to4 of 10": "[2002:a00:1::]",
    "Teredo": "[2001:0:53aa:64c:0:7a7a:80ff:fffe]",
    "multicast": "224.0.0.1",
    "multicast over IPv6": "[ff02::1]",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "benchmarks": "198.18.0.1",
    "mapped 10": "[::ffff:10.0.0.1]",
}
SCHEMES = (
    "ftp://example.com/x",
    "file:///etc/passwd",
    "gopher://example.com/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://example.com",
    "//example.com/x",
    "example.com/x",
    "http:example.com",
    "http:///x",
    "http://",
    "",
    " ",
    "http://user:pass@example.com/",
    "http://user@example.com/",
    "http://example.com/\r\nX: y",
    "http://example.com/%0d%0a\r\n",
    "http://exa\nmple.com/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com:99999/",
    "http://example.com:0/",
    "http://example.com:-1/",
    "http://example.com:8o/",
    "http://[::1",
    "http://exa mple.com/",
    "http://example.com/" + "x" * 3_000,
    "http://" + "a." * 200 + "com",
    "http://ex🙂mple.com/",
    "HTTP//example.com",
    "http://-/",
    "http://.../",
)


def asks(webhook: Any, **more: Any) -> dict[str, Any]:
    return {"version": MODEL, "input": {"text": "x"}, "webhook": webhook, **more}


def addresses() -> Iterator[Case]:
    for name, host in {**INNER, **RANGES}.items():
        act = lambda stage, host=host: unheard(stage, host)  # noqa: E731
        yield Case("webhook-addresses", name, act, (422,), says="webhook")
    old = {"version": MODEL, "input": {}, "webhook_completed": "http://127.0.0.1/"}
    yield posts("webhook-addresses", "by the field of old", old, (422,), says="webhook")
    by_model = {"input": {}, "webhook": "http://[::1]/"}
    yield posts(
        "webhook-addresses",
        "at the model's address",
        by_model,
        (422,),
        path="/v1/models/ada/echo/predictions",
        says="webhook",
    )


def unheard(stage: Stage, host: str) -> Iterator[Answer]:
    """Refused, and nobody was called: listeners on both loopback addresses hear nothing."""
    for trap in stage.traps:
        for scheme in ("http", "https"):
            yield stage.ada.post(CREATE, asks(f"{scheme}://{host}:{trap.port}/"))
        assert trap.requests == []


def schemes() -> Iterator[Case]:
    for url in SCHEMES:
        yield posts("webhook-schemes", repr(url)[:50], asks(url), (422,), says="webhook")
    for value in (5, True, ["http://example.com/"], {"url": "http://example.com/"}):
        yield posts("webhook-schemes", f"{value!r}", asks(value), (422,), says="webhook")
    for events in (["everything"], "completed", [["completed"]], ["completed"] * 100, [None]):
        body = asks("https://example.com/", webhook_events_filter=events)
        yield posts(
            "webhook-schemes", f"events {str(events)[:30]}", body, (422,), says="webhook_events_filter"
        )


def rebinding() -> Iterator[Case]:
    row = "webhook-rebinding"
    hosts: dict[str, Callable[[int], list[str]]] = {
        "a name that resolves to loopback": lambda _: ["127.0.0.1"],
        "a name with a good address and an inner one": lambda _: [OUTSIDE, "127.0.0.1"],
        "a name that resolves to IPv6 loopback": lambda _: ["::1"],
        "a name that resolves to a mapped address": lambda _: ["::ffff:127.0.0.1"],
        "a name that resolves to metadata": lambda _: ["169.254.169.254"],
    }
    for name, answers in hosts.items():
        yield Case(row, name, lambda stage, answers=answers: never_sent(stage, answers), (201, 200))
    yield Case(row, "a name that is another at the second look", pinned, (201, 200))
    for status in (301, 302, 303, 307, 308):
        yield Case(
            row,
            f"{status} to an inner address",
            lambda stage, status=status: redirected(stage, status),
            (201, 200),
        )


OUTSIDE = "127.0.0.2"  # stands for an address of the internet here


@contextmanager
def resolving(answers: Callable[[int], list[str]]) -> Iterator[list[str]]:
    """Names end in .example and resolve to what the look's number says; OUTSIDE alone counts as public,
    beside what is."""
    real, looks, public = socket.getaddrinfo, [], outbound_addresses.is_public

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if not str(host).endswith(".example"):
            return real(host, port, *args, **kwargs)
        looks.append(str(host))
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in answers(len(looks))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        patch.setattr(outbound_addresses, "is_public", lambda address: address == OUTSIDE or public(address))
        yield looks


def told(stage: Stage, port: int) -> Iterator[Any]:
    """A prediction with a webhook that has ended, and its one delivery after one try by a courier of this
    process."""
    made = stage.ada.post(CREATE, asks(f"http://hook.example:{port}/", webhook_events_filter=["completed"]))
    yield made
    path = f"{CREATE}/{made.json()['id']}"
    yield stage.ada.call("POST", f"{path}/cancel", b"{}")
    stage.ended(stage.ada, made)
    sender = Sender(policy=AddressPolicy(), seconds=3.0, connections=4, user_agent="test")
    courier = Courier(stage.database, sender, "whsec_eA==", 4)
    while sending := courier._send_due():
        for delivery in sending:
            delivery.result()
    courier.close()
    sender.close()
    listed = stage.ada.call("GET", f"{path}/deliveries")
    yield listed
    [delivery] = listed.json()["results"]
    [attempt] = delivery["attempts"]
    assert delivery["status"] == "pending"
    yield attempt


def answers_of(steps: Iterator[Any]) -> tuple[list[Answer], dict[str, Any]]:
    *answers, attempt = steps
    return answers, attempt


def never_sent(stage: Stage, answers: Callable[[int], list[str]]) -> list[Answer]:
    with resolving(answers):
        found, attempt = answers_of(told(stage, stage.traps[0].port))
    assert attempt["status_code"] is None
    assert "private" in attempt["error"]
    assert [trap.requests for trap in stage.traps] == [[], []]
    return found


def pinned(stage: Stage) -> list[Answer]:
    """The address that was checked is the one that is called, whatever the name means a moment later."""
    outside = Trap(OUTSIDE, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", port=stage.traps[0].port)
    with resolving(lambda look: [OUTSIDE] if look == 1 else ["127.0.0.1"]) as looks:
        found, attempt = answers_of(told(stage, outside.port))
    outside.close()
    assert (len(looks), attempt["status_code"], len(outside.requests)) == (1, 500, 1)
    assert stage.traps[0].requests == []
    return found


def redirected(stage: Stage, status: int) -> list[Answer]:
    inner = f"http://127.0.0.1:{stage.traps[0].port}/"
    outside = Trap(
        OUTSIDE, f"HTTP/1.1 {status} Go\r\nlocation: {inner}\r\ncontent-length: 0\r\n\r\n".encode()
    )
    with resolving(lambda _: [OUTSIDE]):
        found, attempt = answers_of(told(stage, outside.port))
    outside.close()
    assert (attempt["status_code"], len(outside.requests)) == (status, 1)
    assert "redirects are not followed" in attempt["error"]
    assert stage.traps[0].requests == []
    return found


CASES = [case for rows in (addresses, schemes, rebinding) for case in rows()]
