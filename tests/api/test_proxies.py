"""A proxy that nobody has named is noticed, once."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs
from websockets.sync.client import connect

from app.api.proxies import ProxyCheck


@pytest.mark.parametrize(
    ("address", "forwarded_for", "is_untrusted"),
    [
        ("10.0.0.3", "203.0.113.9", True),
        ("10.0.0.3", "203.0.113.9, 10.0.0.4", True),
        ("203.0.113.9", "203.0.113.9, 10.0.0.4", False),  # uvicorn has taken it from a trusted proxy
        ("203.0.113.9", "198.51.100.1, 203.0.113.9:4711", False),
        ("2001:db8::9", "[2001:db8::9]:4711", False),
        ("2001:db8::9", "2001:db8::9", False),
    ],
)
def test_a_proxy_that_is_not_trusted_is_named_once(address, forwarded_for, is_untrusted) -> None:
    check = ProxyCheck()
    with capture_logs() as logs:
        assert check.look(address, forwarded_for) is is_untrusted
        assert check.look(address, forwarded_for) is False
    assert [entry["event"] for entry in logs] == ["proxy_not_trusted"] * is_untrusted
    assert all("TRUSTED_PROXIES" in entry["meaning"] for entry in logs)


def test_signing_in_through_such_a_proxy_says_so(start_server) -> None:
    import httpx

    server = start_server()
    login = {"username": "nobody", "password": "wrong password"}
    with capture_logs() as logs:
        for _ in range(2):
            headers = {"X-Forwarded-For": "203.0.113.9"}
            httpx.post(f"{server.url}/v1/auth/token", data=login, headers=headers, trust_env=False)
    assert [entry["event"] for entry in logs].count("proxy_not_trusted") == 1


BEHIND = {
    "X-Forwarded-Host": "ml.example, inner.example",
    "X-Forwarded-Prefix": "/ml/",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.9",
}


@pytest.mark.parametrize(
    ("setting", "base"),
    [({"trusted_proxies": "127.0.0.1"}, "https://ml.example/ml"), ({}, None)],
)
def test_links_begin_as_a_trusted_proxy_says_and_as_nobody_else_does(
    start_server, ada, echo, setting, base
) -> None:
    server = start_server(**setting)
    made = ada.http.post(
        f"{server.url}/v1/predictions", headers=BEHIND, json={"version": "ada/echo", "input": {}}
    ).json()
    assert made["urls"]["get"] == f"{base or server.url}/v1/predictions/{made['id']}"
    if base:
        assert '"/ml/openapi.json"' in ada.http.get(f"{server.url}/docs", headers=BEHIND).text.replace(
            "'", '"'
        )
        document = ada.http.get(f"{server.url}/openapi.json", headers=BEHIND).json()
        assert document["servers"][0] == {"url": "/ml"}
        page = ada.http.get(f"{server.url}/", headers={**BEHIND, "Accept": "text/html"})
        assert '"/ml/' in page.text


@pytest.mark.parametrize("host", ["[::1]:8000", "[2001:db8::9]"])
def test_a_host_may_be_an_address_of_ipv6(api, ada, echo, host) -> None:
    made = ada.http.post(
        "/v1/predictions", headers={"Host": host}, json={"version": "ada/echo", "input": {}}
    ).json()
    assert made["urls"]["get"].startswith(f"http://{host}/v1/")


def test_a_forwarded_host_or_prefix_that_is_none_is_left_out(start_server, ada, echo) -> None:
    server = start_server(trusted_proxies="127.0.0.1")
    headers = {"X-Forwarded-Host": "no host/..", "X-Forwarded-Prefix": "no prefix"}
    body = {"version": "ada/echo", "input": {}}
    made = ada.http.post(f"{server.url}/v1/predictions", headers=headers, json=body)
    assert made.json()["urls"]["get"].startswith(f"{server.url}/v1/predictions/")


@contextmanager
def stripping_proxy(port: int, prefix: str) -> Iterator[str]:
    """The address of a proxy that takes this path away and names it, as nginx does with `location`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, suppress(OSError):
            caller, _ = listener.accept()
            with caller, socket.create_connection(("127.0.0.1", port)) as server:
                first = caller.recv(65_536)
                named = f"\r\nX-Forwarded-Prefix: {prefix}\r\n".encode()
                server.sendall(first.replace(f" {prefix}/".encode(), b" /", 1).replace(b"\r\n", named, 1))
                back = threading.Thread(target=pump, args=(server, caller), daemon=True)
                back.start()
                pump(caller, server)

    threading.Thread(target=serve, daemon=True).start()
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}{prefix}"
    listener.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Until either is closed; its end is the other's."""
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_websocket_below_a_path_works_and_its_links_lie_below_it_too(
    start_server, ada, echo, worker
) -> None:
    server = start_server(trusted_proxies="127.0.0.1")
    with stripping_proxy(int(server.url.rpartition(":")[2]), "/ml") as url:
        headers = {"Authorization": f"Bearer {ada.key}"}
        with connect(f"{url}/ws/me", additional_headers=headers, proxy=None) as client:
            assert json.loads(client.recv(timeout=10))["type"] == "welcome"
            client.send(
                json.dumps({"type": "inference", "model": "ada/echo", "inputs": {}, "request_id": "r"})
            )
            answers = {}
            while "result" not in answers:
                answer = json.loads(client.recv(timeout=10))
                answers[answer["type"]] = answer
    prediction = answers["result"]["prediction"]
    assert urlsplit(prediction["urls"]["get"]).path == f"/ml/v1/predictions/{prediction['id']}"
