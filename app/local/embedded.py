"""Real Postgres and Valkey from wheels, as children of this process, under one data directory.

    with EmbeddedServers(Path(".lovage")) as urls: ...

They listen on loopback only, with passwords, on ports that are kept for the next start; they end when this
process ends, however it ends, and a later start over the same directory finds everything that was committed.
Knows how to start, wait and stop; does not know supervision (which takes over the children, see `children`)
or who connects.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from app.local import secret_file
from app.local.errors import StartFailed
from app.local.locks import POLL_S, FileLock, lock_data_dir, no_tick
from app.local.log_file import cut_if_due, log_path, tail
from app.local.ports import choose_port, is_free
from app.local.postgres import Postgres
from app.local.programs import Child, Program, spawn
from app.local.valkey import Valkey

PREDECESSOR_TIMEOUT_S = 60.0  # a killed launcher's Postgres writes its last checkpoint
READY_TIMEOUT_S = 120.0  # crash recovery reads the log since the last checkpoint
PORT_TRIES = 5


@dataclasses.dataclass(frozen=True)
class Urls:
    """Where the servers are, in the form that the settings DATABASE_URL and REDIS_URL take."""

    database_url: str = dataclasses.field(repr=False)
    redis_url: str = dataclasses.field(repr=False)


class Server(Protocol):
    """What both servers have in common. `prepare` runs with the lock held, before `program` is started."""

    name: str
    port_field: str
    lock_path: Path

    def url(self, secrets: secret_file.Secrets) -> str: ...
    def prepare(self, secrets: secret_file.Secrets, lock: FileLock, tick: Callable[[], None]) -> None: ...
    def program(self, secrets: secret_file.Secrets) -> Program: ...
    def version(self) -> str: ...


class EmbeddedServers:
    """The two servers of one data directory. Start and stop from the main thread.

    `postgres=False` or `valkey=False` leaves that server out (its URL is then empty). `lock` is the
    directory's lock if the caller holds it already. `tick` is called while waiting and may raise to give up.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        postgres: bool = True,
        valkey: bool = True,
        lock: FileLock | None = None,
        tick: Callable[[], None] = no_tick,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.children: dict[str, Child] = {}
        self._starts_postgres = postgres
        self._starts_valkey = valkey
        self._servers: tuple[Server, ...] = ()
        self._lock = lock
        self._owns_lock = lock is None
        self._tick = tick

    def start(self) -> Urls:
        """Start both and wait until they answer. Raises LocalError with a sentence; nothing is left running
        then."""
        if self._owns_lock:
            self._lock = lock_data_dir(self.data_dir)
        self._servers = self._choose_servers()
        try:
            return self._start()
        except BaseException:  # what was started is stopped, then it is raised on
            self.stop()
            raise

    def stop(self) -> None:
        """End both cleanly, Valkey first. Safe to call twice."""
        for child in sorted(self.children.values(), key=lambda child: child.program.stage):
            child.stop()
        self.children.clear()
        if self._owns_lock and self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_alive(self) -> bool:
        """Whether everything that was started still runs."""
        return bool(self.children) and all(child.is_alive() for child in self.children.values())

    def versions(self) -> list[str]:
        """What runs, for people: `["Valkey 9.1.2", "Postgres 18.4"]`."""
        return [server.version() for server in self._servers]

    def _choose_servers(self) -> tuple[Server, ...]:
        chosen: list[Server] = []
        if self._starts_valkey:  # first: it loads its file while Postgres starts
            chosen.append(Valkey(self.data_dir / "valkey"))
        if self._starts_postgres:
            chosen.append(Postgres(self.data_dir / "postgres", log_path(self.data_dir, Postgres.name)))
        return tuple(chosen)

    def _start(self) -> Urls:
        self._secrets = secret_file.load_or_make(self.data_dir)
        for server in self._servers:
            self._spawn(server)
        for server in self._servers:
            self._wait_or_move(server)
        urls = {server.name: server.url(self._secrets) for server in self._servers}
        return Urls(urls.get("postgres", ""), urls.get("valkey", ""))

    def _spawn(self, server: Server) -> None:
        log = log_path(self.data_dir, server.name)
        cut_if_due(log)
        lock = FileLock.acquire(server.lock_path, PREDECESSOR_TIMEOUT_S, self._tick)
        with contextlib.closing(lock), log.open("ab") as output:
            self._move_if_taken(server)
            server.prepare(self._secrets, lock, self._tick)
            self.children[server.name] = spawn(server.program(self._secrets), output, lock)

    def _move_if_taken(self, server: Server) -> None:
        if not is_free(getattr(self._secrets, server.port_field)):
            changed: dict[str, Any] = {server.port_field: choose_port()}
            self._secrets = dataclasses.replace(self._secrets, **changed)
            secret_file.save(self.data_dir, self._secrets)

    def _wait_or_move(self, server: Server) -> None:
        """Wait for a server; if it failed because its port was taken after we looked, start it on another
        one."""
        for _ in range(PORT_TRIES):
            try:
                return self._wait_for(self.children[server.name])
            except StartFailed:
                self.children[server.name].stop()
                if is_free(getattr(self._secrets, server.port_field)):
                    raise
            self._spawn(server)
        raise StartFailed(f"{server.name} found no port that stays free.")

    def _wait_for(self, child: Child) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        name = child.program.name
        while not child.is_ready():
            if not child.is_alive() or time.monotonic() > deadline:
                state = (
                    f"not ready after {READY_TIMEOUT_S:.0f} s" if child.is_alive() else child.describe_end()
                )
                raise StartFailed(f"{name} did not start ({state}):\n{tail(log_path(self.data_dir, name))}")
            self._tick()
            time.sleep(POLL_S)

    def __enter__(self) -> Urls:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
