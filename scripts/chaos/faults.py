"""The faults, each done to processes of the platform that was started here, found by their parent and never
by name alone."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
import redis

from app.local.platform_state import Platform
from scripts.chaos.load import Load, Receiver
from scripts.slow_backend import MODEL, SlowServer

Fault = Callable[["Family", Load], None]
FILLED_AT_ONCE = 1 << 20
AWAKE_SECONDS = 5.0
CALM_PAUSE = 2.0  # seconds
ANSWER_SECONDS, IN_FLIGHT = 4.0, 300  # of the backend whose gateway worker is broken; calls that it has then
CALLS_SECONDS = 90.0  # until so many are in flight
FROZEN_MODEL_SECONDS = 60.0  # MODEL_SILENCE_SECONDS, and time to see it


@dataclass(frozen=True)
class Family:
    """The processes of one platform."""

    platform: Platform

    def all(self) -> list[psutil.Process]:
        return psutil.Process(self.platform.pid).children(recursive=True)

    def of(self, *words: str) -> list[psutil.Process]:
        """Direct children of the launcher whose command line has all these words."""
        return [
            one
            for one in psutil.Process(self.platform.pid).children()
            if all(word in _words(one) for word in words)
        ]

    def models(self) -> list[psutil.Process]:
        """Model processes: children of the workers' fork servers."""
        workers = self.of("worker", "--device")
        servers = [
            child
            for worker in workers
            for child in worker.children()
            if "app.engine.fork_server" in _words(child)
        ]
        return [model for server in servers for model in server.children()]

    def server(self, binary: str) -> list[psutil.Process]:
        """An embedded server, by its binary's name."""
        return [
            one for one in psutil.Process(self.platform.pid).children() if binary in "".join(_words(one)[:1])
        ]


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


def freeze(processes: list[psutil.Process], seconds: float, *, family: bool = False) -> None:
    """SIGSTOP, and SIGCONT after a while; with `family`, its children too (Postgres works in them)."""
    if not processes:
        raise RuntimeError("the process to break was not found")
    frozen = [processes[0], *(processes[0].children(recursive=True) if family else ())]
    try:
        for one in frozen:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        time.sleep(seconds)
    finally:  # who is told to stop meanwhile ends the platform, and what is frozen does not end
        for one in frozen:
            with suppress(psutil.NoSuchProcess):
                one.resume()


def flush(family: Family) -> None:
    """Redis forgets everything."""
    redis.Redis.from_url(family.platform.redis_url).flushall()


def refuse_writes(family: Family, seconds: float) -> None:
    """Redis has no memory left: with `noeviction` it refuses every write."""
    with redis.Redis.from_url(family.platform.redis_url) as connection:
        connection.config_set("maxmemory", 1)
        time.sleep(seconds)
        connection.config_set("maxmemory", 0)


def roll(family: Family) -> None:
    """A deploy: one process after the other is told to stop, and the next one when its successor runs."""
    for part in ("worker", "courier", "clock", "api"):
        old = PARTS[part](family)
        for one in old:
            send([one], signal.SIGTERM)
            _await_successor(family, part, one, len(old))


def _await_successor(family: Family, part: str, old: psutil.Process, count: int) -> None:
    until = time.monotonic() + ROLL_SECONDS
    while old.is_running() or len(PARTS[part](family)) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{part} did not come back")
        time.sleep(0.1)


def cut_power(family: Family) -> None:
    """Everything at once but Postgres."""
    for one in [one for part in PARTS if part != "postgres" for one in PARTS[part](family)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def no_space(family: Family, seconds: float) -> None:
    """Workers, their models and the API can write no byte into any file (RLIMIT_FSIZE), as on a full disk."""
    hit = [*family.of("worker", "--device"), *family.models(), *family.of("api")]
    limits = [(one, one.rlimit(psutil.RLIMIT_FSIZE)) for one in hit]
    for one, (_, hard) in limits:
        one.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    time.sleep(seconds)
    for one, old in limits:
        with suppress(psutil.NoSuchProcess):
            one.rlimit(psutil.RLIMIT_FSIZE, old)


def make_read_only(family: Family, seconds: float) -> None:
    """Redis takes no write, as a primary that was demoted: a replica of nobody."""
    with redis.Redis.from_url(family.platform.redis_url) as connection:
        connection.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(seconds)
        connection.execute_command("REPLICAOF", "NO", "ONE")


def fill_disk(family: Family, seconds: float) -> None:
    """Not a byte is left where the platform keeps everything. Its disk must be its own (`own_disk`)."""
    folder = Path(family.platform.data_dir)
    ballast = folder / "ballast"
    until = time.monotonic() + seconds
    try:
        with ballast.open("ab", buffering=0) as file:
            while time.monotonic() < until:  # what a server gives back is taken, too
                with suppress(OSError):
                    while file.write(b"\0" * FILLED_AT_ONCE):
                        pass
                with suppress(OSError):
                    file.write(b"\0" * 512)
                time.sleep(0.1)
    finally:
        ballast.unlink(missing_ok=True)


def freeze_for_good(family: Family) -> None:
    """A model process stops, and is not woken: its worker has to notice."""
    [frozen_process, *_] = family.models()
    frozen_process.suspend()
    try:
        frozen_process.wait(FROZEN_MODEL_SECONDS)
    except psutil.TimeoutExpired:
        frozen_process.resume()
        raise RuntimeError("a frozen model process was not ended") from None


def freeze_all_often(family: Family, load: Load, seconds: float, times: int) -> None:
    """The same so often, with work between. Callers post less meanwhile: what comes in six minutes must be
    run in the few seconds that workers are awake."""
    load.pause = CALM_PAUSE
    for _ in range(times):
        freeze_all(family, seconds)
        time.sleep(AWAKE_SECONDS)


def freeze_all(family: Family, seconds: float) -> None:
    """Every worker stops for longer than its lease, as on a laptop that sleeps."""
    workers = family.of("worker", "--device")
    for worker in workers:
        worker.suspend()
    time.sleep(seconds)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.resume()


def together(*faults: Fault) -> Fault:
    """One after the other, at once."""

    def fault(family: Family, load: Load) -> None:
        for each in faults:
            each(family, load)

    return fault


def fail_receivers_and_kill(family: Family, load: Load) -> None:
    """The courier dies while receivers fail."""
    load.receiver.mode = "500"
    time.sleep(2)
    send(PARTS["courier"](family), signal.SIGKILL)
    time.sleep(2)
    load.receiver.mode = ""


def misbehave(receiver: Receiver, mode: str, seconds: float) -> None:
    """The webhook receiver, for a while."""
    receiver.mode = mode
    if mode == "down":
        receiver.go_down()
    time.sleep(seconds)
    if mode == "down":
        receiver.come_back()
    receiver.mode = ""


def flood(load: Load, seconds: float) -> None:
    """Another user posts as fast as eight callers can."""
    other = load.another_user()
    other.start()
    time.sleep(seconds)
    other.stop()


def storm(load: Load, seconds: float) -> None:
    """Everything that is sent is canceled at once."""
    load.storm = True
    time.sleep(seconds)
    load.storm = False


def break_gateway(family: Family, load: Load, number: int) -> None:
    """Another user's predictions run at a backend, and the gateway worker gets a signal in the middle."""
    upstream, name = SlowServer(ANSWER_SECONDS), f"slow{uuid4().hex[:8]}"
    with load.client() as client:
        url = f"http://127.0.0.1:{upstream.port}"
        asked = {"name": name, "kind": "openai", "url": url, "max_concurrency": 1_000}
        client.post("/v1/backends", json=asked).raise_for_status()
        client.post(f"/v1/backends/{name}/sync", json={"visibility": "public"}).raise_for_status()
    other = load.another_user(f"{name}/{MODEL}", "prompt")
    other.start()
    try:
        _await_calls(upstream)
        send(PARTS["gateway"](family), number)
        time.sleep(ANSWER_SECONDS / 2)
    finally:
        other.stop()


def _await_calls(upstream: SlowServer) -> None:
    until = time.monotonic() + CALLS_SECONDS
    while upstream.running < IN_FLIGHT:
        if time.monotonic() > until:
            raise RuntimeError(f"only {upstream.running} calls of the backend are in flight")
        time.sleep(0.05)


ROLL_SECONDS = 60.0  # a worker's grace, and its start
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
PARTS: dict[str, Callable[[Family], list[psutil.Process]]] = {
    "api": lambda family: family.of("api"),
    "worker": lambda family: family.of("worker", "--device"),
    "model": lambda family: family.models(),
    "courier": lambda family: family.of("worker", "--courier"),
    "clock": lambda family: family.of("clock"),
    "gateway": lambda family: family.of("worker", "--backends"),
    "redis": lambda family: family.server("valkey-server"),
    "postgres": lambda family: family.server("postgres"),
}


def signalled(part: str, number: int) -> Fault:
    return lambda family, load: send(PARTS[part](family), number)


def frozen(part: str, seconds: float) -> Fault:
    return lambda family, load: freeze(PARTS[part](family), seconds, family=part == "postgres")


FROZEN_SECONDS = {
    "worker": 20.0,
    "postgres": 7.0,
}  # longer than DEAD_AFTER_SECONDS, than the statement timeout
CELLS: dict[str, Fault] = {"no fault": lambda family, load: None}
for _part in (part for part in PARTS if part != "gateway"):
    _seconds = FROZEN_SECONDS.get(_part, 5.0)
    CELLS[f"{_part} SIGKILL"] = signalled(_part, KILL)
    CELLS[f"{_part} SIGTERM"] = signalled(_part, TERM)
    CELLS[f"{_part} SIGSTOP {_seconds:.0f} s"] = frozen(_part, _seconds)
for _signal in (KILL, TERM):
    CELLS[f"gateway {_signal.name}"] = partial(break_gateway, number=_signal)
# To Postgres SIGTERM is a wish to end when its last client has gone; SIGINT is its word for a restart now.
CELLS |= {
    "postgres SIGINT": signalled("postgres", INT),
    "rolling restart": lambda family, load: roll(family),
    "all but postgres SIGKILL": lambda family, load: cut_power(family),
    "redis out of memory": lambda family, load: refuse_writes(family, 4),
    "redis FLUSHALL": lambda family, load: flush(family),
    "receiver down": lambda family, load: misbehave(load.receiver, "down", 4),
    "receiver 500": lambda family, load: misbehave(load.receiver, "500", 4),
    "receiver redirect": lambda family, load: misbehave(load.receiver, "302", 4),
    "receiver dripping": lambda family, load: misbehave(load.receiver, "drip", 20),
    "receiver slow": lambda family, load: misbehave(load.receiver, "slow", 4),
    "disk full": lambda family, load: no_space(family, 4),
    "disk filled": lambda family, load: fill_disk(family, 8),
    "flood by one user": lambda family, load: flood(load, 8),
    "cancel storm": lambda family, load: storm(load, 4),
    "redis read-only": lambda family, load: make_read_only(family, 8),
    "model frozen for good": lambda family, load: freeze_for_good(family),
    "all workers SIGSTOP 20 s": lambda family, load: freeze_all(family, 20),
    "all workers SIGSTOP 30 s, ten times": lambda family, load: freeze_all_often(family, load, 30, times=10),
    "courier SIGKILL, receiver 500": fail_receivers_and_kill,
    "worker SIGKILL, postgres SIGINT": together(signalled("postgres", INT), signalled("worker", KILL)),
    "redis FLUSHALL, api SIGTERM": together(
        signalled("api", TERM), lambda family, load: time.sleep(0.5), lambda family, load: flush(family)
    ),
}
# What a cell needs of this machine, or it is not tried.
NEEDS: dict[str, tuple[str, Callable[[Platform], bool]]] = {
    "disk filled": ("a disk of its own", lambda platform: os.path.ismount(platform.data_dir)),
}
# What may fail, and why, in a cell whose fault is the reason.
MAY_FAIL = {
    "disk full": "storage_error",
    "disk filled": "storage_error",
    # Who is in work at three of the ten freezes has lost three workers, which ends it.
    "all workers SIGSTOP 30 s, ten times": "worker_crashed",
}
