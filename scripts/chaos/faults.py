"""The faults, each done to processes of the platform that was started here, found by their parent and never by name alone."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import redis

from app.local.platform_state import Platform


@dataclass(frozen=True)
class Family:
    """The processes of one platform."""

    platform: Platform

    def all(self) -> list[psutil.Process]:
        return psutil.Process(self.platform.pid).children(recursive=True)

    def of(self, *words: str) -> list[psutil.Process]:
        """Direct children of the launcher whose command line has all these words."""
        return [one for one in psutil.Process(self.platform.pid).children() if all(word in _words(one) for word in words)]

    def models(self) -> list[psutil.Process]:
        """Model processes: children of the workers' fork servers."""
        workers = self.of("worker", "--device")
        servers = [child for worker in workers for child in worker.children() if "app.engine.fork_server" in _words(child)]
        return [model for server in servers for model in server.children()]

    def server(self, binary: str) -> list[psutil.Process]:
        """An embedded server, by its binary's name."""
        return [one for one in psutil.Process(self.platform.pid).children() if binary in "".join(_words(one)[:1])]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def send(processes: list[psutil.Process], number: int) -> None:
    """A signal to the first of them; it is an error when there is none."""
    if not processes:
        raise RuntimeError("the process to break was not found")
    os.kill(processes[0].pid, number)


def freeze(processes: list[psutil.Process], seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    send(processes, signal.SIGSTOP)
    time.sleep(seconds)
    if processes[0].is_running():
        os.kill(processes[0].pid, signal.SIGCONT)


def flush(family: Family) -> None:
    """Redis forgets everything."""
    redis.Redis.from_url(family.platform.redis_url).flushall()


KILL, TERM = signal.SIGKILL, signal.SIGTERM
CELLS: dict[str, Callable[[Family], None]] = {
    "no fault": lambda family: None,
    "worker SIGKILL": lambda family: send(family.of("worker", "--device"), KILL),
    "worker SIGTERM": lambda family: send(family.of("worker", "--device"), TERM),
    "worker SIGSTOP 20 s": lambda family: freeze(family.of("worker", "--device"), 20),
    "model SIGKILL": lambda family: send(family.models(), KILL),
    "model SIGSTOP 5 s": lambda family: freeze(family.models(), 5),
    "api SIGKILL": lambda family: send(family.of("api"), KILL),
    "api SIGTERM": lambda family: send(family.of("api"), TERM),
    "api SIGSTOP 3 s": lambda family: freeze(family.of("api"), 3),
    "courier SIGKILL": lambda family: send(family.of("worker", "--courier"), KILL),
    "courier SIGTERM": lambda family: send(family.of("worker", "--courier"), TERM),
    "clock SIGKILL": lambda family: send(family.of("clock"), KILL),
    "redis SIGKILL": lambda family: send(family.server("valkey-server"), KILL),
    "redis SIGSTOP 5 s": lambda family: freeze(family.server("valkey-server"), 5),
    "redis FLUSHALL": flush,
    "postgres SIGKILL": lambda family: send(family.server("postgres"), KILL),
    "postgres SIGINT": lambda family: send(family.server("postgres"), signal.SIGINT),
}
