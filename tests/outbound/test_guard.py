"""What the outside world may make us call, and what not."""

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
from dripping import dripping

from app.outbound.addresses import AddressPolicy, is_public
from app.outbound.deadline import CallCanceled, Deadline
from app.outbound.guard import Refused, check_url
from app.outbound.guarded_client import MOST_ADDRESSES, MOST_REDIRECTS, GuardedClient
from app.settings import Settings

PRIVATE = """
127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1
169.254.169.254 169.254.0.1
100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1
255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 ff02::1 ::ffff:127.0.0.1
::ffff:10.0.0.1 ::ffff:7f00:1
::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::a00:1 2002:7f00:1:: 2002:a00:1:: 2002:c0a8:1::
2001:0:53aa:64c:0:7a7a:80ff:fffe 2001:db8::1 100::1 fec0::1 168.63.129.16 ::ffff:168.63.129.16 localhost
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
    check_url(url, AddressPolicy())


def test_development_may_call_its_own_machine_but_no_other_scheme() -> None:
    check_url("http://127.0.0.1:9000/hook", HERE)
    check_url("http://localhost:9000/hook", HERE)
    with pytest.raises(Refused):
        check_url("file:///etc/passwd", HERE)


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


HERE = AddressPolicy(allow_private=True)


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    made = GuardedClient(HERE)
    yield made
    made.close()


def test_a_name_that_resolves_to_loopback_is_refused_before_connecting() -> None:
    trap = Trap()
    client = GuardedClient(AddressPolicy())
    for host in ("localhost", socket.gethostname()):
        with (
            pytest.raises((Refused, httpx.ConnectError)),
            client.stream("GET", f"http://{host}:{trap.port}/", Deadline(5)),
        ):
            pass
    assert trap.connections == 0


def test_what_an_operator_denies_is_never_called_whatever_else_is_allowed() -> None:
    denied = tuple(map(ip_network, ("93.184.0.0/16", "127.0.0.3/32")))
    for policy in (AddressPolicy(denied=denied), AddressPolicy(allow_private=True, denied=denied)):
        for url in ("https://93.184.216.34/x", "https://[::ffff:93.184.216.34]/", "http://127.0.0.3/"):
            with pytest.raises(Refused, match="private or reserved"):
                check_url(url, policy)
        check_url("https://1.1.1.1/", policy)
    with pytest.raises(ValueError, match="deny_addresses"):
        Settings(secret_key="x", lovage_env="development", deny_addresses="example.com")


def test_redirects_of_a_webhook_are_not_followed(client: GuardedClient) -> None:
    target = Trap()
    answer = f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{target.port}/\r\ncontent-length: 0\r\n\r\n"
    source = Trap(answer.encode())
    with client.stream("GET", f"http://127.0.0.1:{source.port}/", Deadline(5)) as response:
        assert response.status_code == 302
    assert target.connections == 0


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


def test_a_file_is_fetched_over_a_few_redirects(client: GuardedClient, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{Trap().port}/x"
    for _ in range(MOST_REDIRECTS):
        url = f"http://127.0.0.1:{Trap(redirect(url)).port}/y"
    client.fetch(url, tmp_path / "x", 10)
    assert (tmp_path / "x").read_bytes() == b"ok"
    one_more = Trap(redirect(url))
    with pytest.raises(ValueError, match="redirects more than 3 times"):
        client.fetch(f"http://127.0.0.1:{one_more.port}/", tmp_path / "x", 10)
    round_and_round = Trap(redirect("/again"))
    with pytest.raises(ValueError, match="redirects more than 3 times"):
        client.fetch(f"http://127.0.0.1:{round_and_round.port}/", tmp_path / "x", 10)
    assert round_and_round.connections == 1 + MOST_REDIRECTS


@pytest.mark.parametrize("host", ["127.0.0.3", "ftp:", "user@127.0.0.1"])
def test_a_redirect_is_checked_like_the_first_address(host: str, tmp_path: Path) -> None:
    policy = AddressPolicy(allow_private=True, denied=(ip_network("127.0.0.3/32"),))
    target = Trap()
    location = "ftp://127.0.0.1/x" if host == "ftp:" else f"http://{host}:{target.port}/"
    source = Trap(redirect(location))
    with pytest.raises(Refused):
        GuardedClient(policy).fetch(f"http://127.0.0.1:{source.port}/", tmp_path / "x", 10)
    assert (source.connections, target.connections) == (1, 0)


HEADS_THAT_DRIP = {
    "no byte of an answer": (b"", b""),
    "a header that never ends": (b"HTTP/1.1 200 OK\r\nx: ", b"a"),
    "100 Continue without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("drops", HEADS_THAT_DRIP.values(), ids=HEADS_THAT_DRIP)
def test_a_head_that_drips_is_given_up_at_the_deadline(
    client: GuardedClient, drops: tuple[bytes, bytes]
) -> None:
    with dripping(*drops) as url:
        began = time.monotonic()
        with (
            pytest.raises(httpx.ReadTimeout, match=r"longer than 0\.3 s in all"),
            client.stream("GET", url, Deadline(0.3)),
        ):
            pass
        assert 0.3 <= time.monotonic() - began < 1.0


def test_a_file_that_drips_is_given_up(
    client: GuardedClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.outbound.guarded_client.FETCH_SECONDS", 0.3)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with dripping(head, b"x") as url, pytest.raises(ValueError, match=r"took longer than 0\.3 s in all"):
        client.fetch(url, tmp_path / "x", 10_000)


def test_a_file_that_nobody_wants_any_more_is_fetched_no_further(
    client: GuardedClient, tmp_path: Path
) -> None:
    canceled = threading.Event()
    threading.Timer(0.2, canceled.set).start()
    with dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a") as url:
        began = time.monotonic()
        with pytest.raises(CallCanceled):
            client.fetch(url, tmp_path / "x", 10_000, canceled.is_set)
        assert time.monotonic() - began < 1.0


def test_a_receiver_that_reads_nothing_is_given_up(client: GuardedClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with (
            pytest.raises(httpx.WriteTimeout, match="in all"),
            client.stream("POST", url, Deadline(0.3), content=bytes(50_000_000)),
        ):
            pass


def test_a_handshake_that_drips_is_given_up(client: GuardedClient) -> None:
    with dripping(b"\x16\x03\x03\x40\x00", b"\x00") as url:
        began = time.monotonic()
        with (
            pytest.raises(httpx.ConnectTimeout),
            client.stream("GET", url.replace("http:", "https:"), Deadline(0.3)),
        ):
            pass
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("seconds", [0.0, 60.0], ids=["at once", "never"])
def test_a_name_with_thousands_of_addresses_costs_no_more_than_a_few(
    client: GuardedClient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The resolver answers, or hangs."""
    tried, release = [], threading.Event()

    def getaddrinfo(*args: object, **kwargs: object) -> list[tuple[object, ...]]:
        release.wait(seconds)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.1.{n >> 8}.{n % 256}", 9))
            for n in range(4_000)
        ]

    def connect(address: tuple[str, int], *args: object, **kwargs: object) -> None:
        tried.append(address)
        raise TimeoutError("silent")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", connect)
    began = time.monotonic()
    with pytest.raises(httpx.ConnectTimeout), client.stream("GET", "http://many.example/", Deadline(0.3)):
        pass
    release.set()
    assert time.monotonic() - began < 1.0
    assert len(tried) == (0 if seconds else MOST_ADDRESSES)


def test_a_file_is_fetched_up_to_its_bound(client: GuardedClient, tmp_path: Path) -> None:
    url, target = f"http://127.0.0.1:{Trap().port}/x", tmp_path / "x"
    client.fetch(url, target, 10)
    assert target.read_bytes() == b"ok"
    with pytest.raises(ValueError, match="larger than 1 bytes"):
        client.fetch(url, target, 1)
    with pytest.raises(ValueError, match="answered 404"):
        client.fetch(f"http://127.0.0.1:{Trap(b'HTTP/1.1 404 No' + bytes([13, 10]) * 2).port}/x", target, 10)
    with pytest.raises(ValueError, match="private"):
        GuardedClient(AddressPolicy()).fetch(url, target, 10)
