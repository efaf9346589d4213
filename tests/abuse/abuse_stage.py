"""What an attacker meets and what is watched meanwhile: a live API process, people with keys, raw sockets,
listeners."""

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
import psutil

from app.db.session import Database
from app.db.tables import ApiKeyRow, UserRow
from app.outbound.webhook_signing import new_secret
from app.services.people import passwords
from app.services.people.access import SCOPES, digest, new_key

MEMORY_BACK = 400 << 20  # bytes that a process may have more after an attack
PASSWORD = "correct horse battery"
JSON = {"Content-Type": "application/json"}
MODEL = "ada/echo"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Answer:
    """What came back. Status 0: the connection was closed without a word."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, answer: httpx.Response) -> "Answer":
        return cls(
            answer.status_code,
            {name.lower(): value for name, value in answer.headers.items()},
            answer.content,
        )

    @classmethod
    def parsed(cls, raw: bytes) -> "Answer":
        """Of the bytes on a socket; what comes after the first answer's head is taken for its body."""
        if not raw:
            return cls(0, {}, b"")
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = {
            name.decode().lower(): value.strip().decode()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        return cls(int(first.split()[1]), headers, body)

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Person:
    """A user with a key of the given scopes."""

    name: str
    id: UUID
    key: str
    http: httpx.Client

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def call(self, method: str, path: str, body: bytes | None = None, **more: Any) -> Answer:
        """One request; a body is sent as JSON unless a header says otherwise."""
        headers = (JSON if body is not None else {}) | more.pop("headers", {})
        return Answer.of(self.http.request(method, path, content=body, headers=headers, **more))

    def post(self, path: str, value: Any, **more: Any) -> Answer:
        return self.call("POST", path, orjson.dumps(value), **more)


class Trap:
    """Listens on loopback and counts who connects; `answer` is what they get."""

    def __init__(self, host: str = "127.0.0.1", answer: bytes = OK, port: int = 0) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.requests.append(connection.recv(65536))
                connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Stage:
    """One API process over real servers, and a worker, which takes its time to start."""

    url: str
    pid: int
    secret: str
    database: Database
    roots: Path
    wait_for_worker: Callable[[], int]
    people: dict[str, Person] = field(default_factory=dict)
    things: dict[str, Any] = field(default_factory=dict)
    traps: tuple[Trap, Trap] = field(default_factory=lambda: (Trap("127.0.0.1"), Trap("::1")))
    _numbers: Iterator[int] = field(default_factory=lambda: count(3))

    @property
    def ada(self) -> Person:
        return self.people["ada"]

    @property
    def worker(self) -> int:
        """The process id of an accelerator worker, once it lives."""
        return self.wait_for_worker()

    def person(self, name: str, *, admin: bool = False, scopes: tuple[str, ...] = ()) -> Person:
        """The user of this name, made at the first call."""
        if name not in self.people:
            self.people[name] = self._made(
                name, admin, scopes or (SCOPES if admin else ("predict", "models"))
            )
        return self.people[name]

    def _made(self, name: str, admin: bool, scopes: tuple[str, ...]) -> Person:
        key = new_key()
        row = UserRow(
            email=f"{name}@example.com",
            username=name,
            password_hash=passwords.hashed(PASSWORD),
            is_admin=admin,
            webhook_secret=new_secret(),
        )
        with self.database.unit() as session:
            session.add(row)
            session.flush()
            session.add(
                ApiKeyRow(user_id=row.id, name="k", prefix=key[:12], hash=digest(key), scopes=list(scopes)),
            )
        headers = {"Authorization": f"Bearer {key}"}
        return Person(
            name, row.id, key, httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        )

    @contextmanager
    def somebody(self) -> Iterator[httpx.Client]:
        """A caller without a credential, from an address of its own: nobody else's tries count for it."""
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{next(self._numbers)}")
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False, transport=transport) as client:
            yield client

    def connect(self) -> socket.socket:
        where = httpx.URL(self.url)
        return socket.create_connection((where.host, where.port), timeout=30)

    def raw(self, request: bytes, *more: bytes) -> Answer:
        """Sends bytes as they are, as far as the server takes them, and reads until it closes or is
        silent."""
        with self.connect() as connection:
            sender = threading.Thread(target=_send, args=(connection, (request, *more)), daemon=True)
            sender.start()
            answer = _read(connection)
        sender.join(10)
        return Answer.parsed(answer)

    def close(self) -> None:
        for person in self.people.values():
            person.http.close()
        for trap in self.traps:
            trap.close()

    def memory(self) -> int:
        """Resident bytes of the API process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def ended(self, person: Person, made: Answer, seconds: float = 60) -> dict[str, Any]:
        """The prediction, once it has ended."""
        path, until = f"/v1/predictions/{made.json()['id']}", time.monotonic() + seconds
        while time.monotonic() < until:
            found: dict[str, Any] = person.call("GET", path, headers={"Prefer": "wait=5"}).json()
            if found["status"] in ("succeeded", "failed", "canceled"):
                return found
        raise AssertionError(f"did not end within {seconds} s: {found}")

    def still_serves(self) -> None:
        """A good request is answered well, by the same process."""
        answer = self.person("grace").post(
            "/v1/predictions", {"version": MODEL, "input": {"text": "still here 🙂"}}
        )
        assert answer.status == 201, answer
        assert answer.json()["input"]["text"] == "still here 🙂"
        assert psutil.pid_exists(self.pid)


def _send(connection: socket.socket, parts: tuple[bytes, ...]) -> None:
    try:
        for part in parts:
            connection.sendall(part)
    except OSError:
        return  # the server has had enough


def _read(connection: socket.socket, silence: float = 12) -> bytes:
    """What the server says until it closes, resets, or has said all of an answer whose length is known."""
    found = b""
    while select.select([connection], [], [], silence)[0]:
        try:
            block = connection.recv(65536)
        except ConnectionResetError:
            break
        found += block
        if not block or _is_whole(found):
            break
    return found


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    lengths = [
        line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    ]
    return bool(end) and bool(lengths) and len(body) >= int(lengths[0])


def start(arguments: list[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`lovage …` as an own process."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "app", *arguments], env={**os.environ, **env}, stdout=out, stderr=out
        )
