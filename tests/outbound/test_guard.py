"""What the outside world may make us call, and what not."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.outbound.addresses import is_public
from app.outbound.guard import Refused, check_url, fetch, guarded_client

PRIVATE = """
127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1
169.254.169.254 169.254.0.1
100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1
255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 ff02::1 ::ffff:127.0.0.1
::ffff:10.0.0.1 ::ffff:7f00:1
::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::a00:1 2002:7f00:1:: 2002:a00:1:: 2002:c0a8:1::
2001:0:53aa:64c:0:7a7a:80ff:fffe 2001:db8::1 100::1 localhost
""".split()  # noqa: SIM905
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.255.255",
    "2606:4700::1111",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_the_internets_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://example.com:8080/a?b=c",
        "https://93.184.216.34/x",
        "https://a_b.example.com.",
    ],
)
def test_ordinary_urls_pass(url: str) -> None:
    check_url(url)


def test_development_may_call_its_own_machine_but_no_other_scheme() -> None:
    check_url("http://127.0.0.1:9000/hook", allow_private=True)
    check_url("http://localhost:9000/hook", allow_private=True)
    with pytest.raises(Refused):
        check_url("file:///etc/passwd", allow_private=True)


class Trap:
    """A listener on loopback that counts who connects."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") -> None:
        self.connections = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.connections += 1
            connection.recv(65536)
            connection.sendall(self._answer)
            connection.close()


def test_a_name_that_resolves_to_loopback_is_refused_before_connecting() -> None:
    trap = Trap()
    client = guarded_client(allow_private=False, timeout=5)
    for host in ("localhost", socket.gethostname()):
        with pytest.raises((Refused, httpx.ConnectError)):
            client.get(f"http://{host}:{trap.port}/")
    assert trap.connections == 0


def test_redirects_are_not_followed() -> None:
    target = Trap()
    answer = f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{target.port}/\r\ncontent-length: 0\r\n\r\n"
    source = Trap(answer.encode())
    assert (
        guarded_client(allow_private=True, timeout=5).get(f"http://127.0.0.1:{source.port}/").status_code
        == 302
    )
    assert target.connections == 0


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.outbound.guard.WHOLE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    connection.sendall(b"x")
                    time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(ValueError, match=r"took longer than 0\.3 s"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/x", tmp_path / "x", 10_000, True)


def test_a_file_is_fetched_up_to_its_bound(tmp_path: Path) -> None:
    trap = Trap()
    fetch(f"http://127.0.0.1:{trap.port}/x", tmp_path / "x", 10, True)
    assert (tmp_path / "x").read_bytes() == b"ok"
    with pytest.raises(ValueError, match="larger than 1 bytes"):
        fetch(f"http://127.0.0.1:{trap.port}/x", tmp_path / "x", 1, True)
    with pytest.raises(ValueError, match="answered 404"):
        fetch(
            f"http://127.0.0.1:{Trap(b'HTTP/1.1 404 No' + bytes([13, 10]) * 2).port}/x",
            tmp_path / "x",
            10,
            True,
        )
    with pytest.raises(ValueError, match="private"):
        fetch(f"http://127.0.0.1:{trap.port}/x", tmp_path / "x", 10, False)
