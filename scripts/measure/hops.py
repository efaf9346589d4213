"""`python -m scripts.measure.hops`: the files under `app/` that one prediction comes by, in order.

An echo is run through the real classes in this process, over an embedded Postgres and Valkey: a worker
without Celery takes it from its message to its recorded end, then the API's submitter accepts one. Both were
run before, so that what is remembered is remembered. `sys.setprofile` lists each file whose code runs between
the first call and the last. Left out are the model's process, threads that only look at a clock
or tidy up behind runs before it (IDLE_THREADS), and what a thread does once it has handed the prediction on
and is at something else (HANDED_ON).

A file is *passed* when it is on the stack at a moment when the prediction goes on: to Postgres, to Redis, to
the model's process, or to another thread or task (HAND_OVERS). The others are *asked*: they give an answer
(is the input valid, which queue, how many more) and the prediction goes on without them.

On the way in the files that are passed count, against IN_FILES: the checks of a request are as many as there
are rules. From the message to the recorded end all count, against RUN_FILES, as whoever follows a run reads
them all, but for pure rules, counters, the type of a value that is JSON already and the reading of a reply
(NO_STATIONS).
"""

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import app
from app.api.body_gate import BodyGate
from app.broker.consumer import sink_strategy
from app.composition import build_submitter
from app.composition_core import Core, open_core
from app.composition_worker import build_worker
from app.db.migrate import upgrade
from app.db.tables import ModelRow, UserRow, VersionRow
from app.domain.predictions import new_id
from app.domain.versions import RunnableVersion
from app.local.embedded import EmbeddedServers, Urls
from app.runtimes import registry
from app.services.platform.fleet import Fleet
from app.services.predictions.submit import Submission, Submitter
from app.settings import Settings
from app.worker.process import AcceleratorWorker

IN_FILES, RUN_FILES = 8, 24
# The last is the reading of a reply from Redis: before or after the recorded end, as the threads go.
NO_STATIONS = ("domain/", "observe/", "engine/capacity.py", "json_text.py", "redis_client.py")
IDLE_THREADS = ("engine-monitor", "progress", "remove-folders")
HANDED_ON = ("Intake._claim",)  # what follows in its thread is the next look for messages
# Functions that send something or give it to somebody else: C's, by their names, and the standard library's.
SENDS = ("execute", "send", "sendall")
HAND_OVERS = ("notify", "submit", "run_in_executor", "create_task")
ROOT = f"{Path(app.__file__).parent}/"
TIMES = 3  # what comes by chance (a look at the queues, a ping) is in one of them and not in the least
SECONDS = 240.0  # importing the model libraries takes 60 on a machine where 15 others want each core
VERSION = "e" * 64


@dataclass(slots=True)
class Station:
    """A file on the way, and the first function of it that ran."""

    file: str
    function: str
    passed: bool = False


class Recording:
    """`stations` by file, in the order in which they were come by, while it is `on`."""

    def __init__(self) -> None:
        self.stations: dict[str, Station] = {}
        self.on = False
        self._left: set[int] = set()  # threads that are at something else

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        """For `sys.setprofile` and `threading.setprofile`."""
        thread, code = threading.current_thread(), frame.f_code
        if not self.on or thread.name in IDLE_THREADS or thread.ident in self._left:
            return
        if event == "call" and code.co_filename.startswith(ROOT):
            file = code.co_filename.removeprefix(ROOT)
            self.stations.setdefault(file, Station(file, code.co_qualname))
        elif (event == "c_call" and getattr(arg, "__name__", "") in SENDS) or (
            event == "call" and code.co_name in HAND_OVERS and is_ours(frame.f_back)
        ):
            self._pass(frame)
        elif event == "return" and code.co_qualname in HANDED_ON:
            self._left.add(thread.ident or 0)

    def _pass(self, frame: FrameType | None) -> None:
        while frame:
            station = self.stations.get(frame.f_code.co_filename.removeprefix(ROOT))
            if station:
                station.passed = True
            frame = frame.f_back

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.stations, self._left = {}, set()
        self.on = True
        sys.setprofile(self.profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.on = False


def is_ours(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code.co_filename.startswith(ROOT)


RECORDING = Recording()


def fewest(measure: Callable[[], list[Station]]) -> list[Station]:
    """Of some runs after a first one."""
    measure()
    return min((measure() for _ in range(TIMES)), key=len)


def register_echo(core: Core) -> RunnableVersion:
    """A version of the runtime echo, whose owner nobody is."""
    spec = next(spec for spec in registry.specs() if spec.name == "echo")
    schemas = {"input_schema": spec.inputs[""], "output_schema": spec.outputs[""]}
    with core.database.unit() as session:
        user = UserRow(email="a@b.test", username="ada", password_hash="x", webhook_secret="whsec_x")
        session.add(user)
        session.flush()
        model = ModelRow(owner_id=user.id, owner="ada", name="echo", visibility="public")
        session.add(model)
        session.flush()
        session.add(
            VersionRow(id=VERSION, model_id=model.id, source="none", runtime="echo", streams=True, **schemas)
        )
    return RunnableVersion(VERSION, "ada/echo", spec.inputs[""], True)


def run_once(worker: AcceleratorWorker, core: Core) -> list[Station]:
    """From the message to the recorded end."""
    parts, ended = worker.parts, threading.Event()
    row: dict[str, Any] = {
        "id": new_id(time.time_ns() // 1_000_000),
        "version_id": VERSION,
        "model": "ada/echo",
    }
    row |= {"queue": "nobody-reads", "source": "api", "input": {"text": "x"}, "stream": True}
    core.lifecycle.accept([row])
    deadline = time.monotonic() + SECONDS
    while parts.intake.is_reading and time.monotonic() < deadline:
        time.sleep(0.01)
    on_message = sink_strategy(parts.intake)(None, None, None)
    on_ended = worker.task_events.on_ended

    def end(*prediction_and_status: Any) -> None:
        on_ended(*prediction_and_status)
        RECORDING.on = False
        ended.set()

    parts.runner.on_ended = end
    with RECORDING.recording():
        on_message(SimpleNamespace(headers={"id": row["id"]}))
        if not ended.wait(SECONDS):
            raise SystemExit("the echo did not end")
    return list(RECORDING.stations.values())


def run_in_worker(settings: Settings, core: Core) -> list[Station]:
    """The way of a run: of a worker's parts those start that take a prediction from here to there."""
    worker = build_worker(settings, "cpu")
    parts = worker.parts
    for part in (parts.engine, parts.ending_writer, parts.intake):
        part.start()
    try:
        return fewest(lambda: run_once(worker, core))
    finally:
        parts.intake.stop()
        parts.engine.stop(0)
        parts.ending_writer.close(1)
        parts.runner.close()
        worker.close()


def accept_once(submitter: Submitter, version: RunnableVersion) -> list[Station]:
    """From the route's submit to the publish: a lone message leaves from the thread that has committed."""

    async def submit() -> None:
        with RECORDING.recording():
            await submitter.submit(Submission(None, version, {"text": "x"}))

    asyncio.run(submit())
    return list(RECORDING.stations.values())


def accept_in_api(settings: Settings, version: RunnableVersion) -> list[Station]:
    """The way in."""
    threads = ThreadPoolExecutor(1)
    core = open_core(settings, application="hops-api", pool=2, fail_fast=True)
    fleet = Fleet(core.database, threads, settings.dead_after_seconds)
    bodies = BodyGate()
    submitter = build_submitter(settings, core, fleet, threads, bodies)
    try:
        return fewest(lambda: accept_once(submitter, version))
    finally:
        bodies.close()
        threads.shutdown()
        core.close()


def measure() -> dict[str, tuple[list[Station], int, int]]:
    """Of each way its stations, how many count, and how many there may be."""
    threading.setprofile(RECORDING.profile)
    with tempfile.TemporaryDirectory(prefix="lovage-hops-") as folder, EmbeddedServers(Path(folder)) as urls:
        upgrade(urls.database_url)
        settings = settings_over(urls, Path(folder))
        core = open_core(settings, application="hops", pool=2)
        version = register_echo(core)
        run = run_in_worker(settings, core)
        accept = accept_in_api(settings, version)
        core.close()
    threading.setprofile(None)
    return {
        "in": (accept, sum(station.passed for station in accept), IN_FILES),
        "run": (run, sum(not station.file.startswith(NO_STATIONS) for station in run), RUN_FILES),
    }


def settings_over(urls: Urls, folder: Path) -> Settings:
    """Without limits on what waits, which are counted now and then beside the way."""
    return Settings(
        lovage_env="development",
        lovage_data_dir=folder,
        database_url=urls.database_url,
        redis_url=urls.redis_url,
        secret_key="x" * 40,
        max_waiting=0,
        max_waiting_per_user=0,
        log_level="warning",
    )


def main() -> int:
    """Prints the ways; the exit code is 1 when one is too long."""
    missed = 0
    for name, (stations, count, bar) in measure().items():
        missed += count > bar
        print(f"{'MISSED' if count > bar else 'ok':7}hops, {name:18}{count} files, at most {bar}")
        for station in stations:
            print(f"         {'passed' if station.passed else 'asked ':8}{station.file:48}{station.function}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
