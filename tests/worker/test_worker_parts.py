"""From a doorbell to the recorded end, inside one worker."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import redis
from accepting import accept, all_ended, row, rows
from sqlalchemy import text
from waiting import eventually

from app.broker import messages, names
from app.broker.queue_lists import message_id_of
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction, Status, new_id
from app.engine.engine import Engine
from app.services.predictions.lifecycle import Ending, HandBack
from app.worker.intake import LOOK_ANYWAY_SECONDS
from app.worker.recorder import Recorder
from app.worker.run import Run, has_files, may_write_files, wants_files
from app.worker.runner import SCRATCH, forget_scratch_of_the_dead


def start(parts: SimpleNamespace) -> None:
    parts.recorder.start()
    parts.intake.start()


def test_one_bell_brings_all_that_waits_in_redis(parts: SimpleNamespace, settings: Any) -> None:
    ids = accept(parts, *({"text": f"t{n}"} for n in range(100)))
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.KEY_PREFIX + "cpu") >= 100)
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    assert [one.output for one in rows(parts, ids)] == [f"t{n}" for n in range(100)]
    assert connection.llen(names.KEY_PREFIX + "cpu") == 0
    eventually(lambda: not parts.intake.is_reading)
    assert not parts.runner.running


def test_while_bells_ring_the_intake_reads_them_itself(parts: SimpleNamespace, settings: Any) -> None:
    connection = redis.Redis.from_url(settings.redis_url)
    start(parts)
    [first] = accept(parts, {"text": "x"})
    parts.intake.on_message(first)
    eventually(all_ended(parts, [first]))
    others = accept(parts, *({"text": "y"} for _ in range(3)))
    eventually(all_ended(parts, others))
    eventually(lambda: connection.llen(names.KEY_PREFIX + "cpu") == 0)
    eventually(lambda: not parts.intake.is_reading)


def test_no_more_than_the_slots_are_held(parts: SimpleNamespace) -> None:
    ids = accept(parts, *({"text": "x", "seconds": 0.3} for _ in range(40)))
    most = 0
    start(parts)
    parts.intake.on_message(ids[0])
    end = time.monotonic() + 20
    while not all_ended(parts, ids)() and time.monotonic() < end:
        most = max(most, len(parts.runner.running))
        time.sleep(0.01)
    assert all_ended(parts, ids)()
    assert 8 <= most <= 16


def test_what_nobody_rings_for_is_claimed_after_a_second(parts: SimpleNamespace, settings: Any) -> None:
    ids = accept(parts, {"text": "silent"})
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.KEY_PREFIX + "cpu") > 0)
    connection.delete(names.KEY_PREFIX + "cpu")
    start(parts)
    eventually(all_ended(parts, ids), 6)


def notify_others(parts: SimpleNamespace, until: Callable[[], bool], seconds: float) -> None:
    """Bells that never fall silent, of predictions that are not there."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come about"
        parts.intake.on_message("0" * 26)
        time.sleep(0.1)


def test_bells_that_postgres_does_not_answer_are_answered_later(
    parts: SimpleNamespace, settings: Any
) -> None:
    ids = accept(parts, {"text": "kept"})
    connection, claim, tries = redis.Redis.from_url(settings.redis_url), parts.recorder.claim, []
    eventually(lambda: connection.llen(names.KEY_PREFIX + "cpu") > 0)
    connection.delete(names.KEY_PREFIX + "cpu")

    def away_at_first(wanted: list[str]) -> list[Prediction]:
        tries.append(wanted)
        if len(tries) == 1:
            raise Unavailable("away")
        found: list[Prediction] = claim(wanted)
        return found

    parts.recorder.claim = away_at_first
    parts.recorder.claim_oldest = lambda *_: []
    start(parts)
    parts.intake.on_message(ids[0])
    notify_others(parts, all_ended(parts, ids), LOOK_ANYWAY_SECONDS - 1)
    assert ids[0] in tries[0], "its only bell was lost at first"


def test_a_lost_bell_is_made_up_for_though_others_never_fall_silent(
    parts: SimpleNamespace, settings: Any
) -> None:
    ids = accept(parts, {"text": "lost"})
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.KEY_PREFIX + "cpu") > 0)
    connection.delete(names.KEY_PREFIX + "cpu")
    start(parts)
    notify_others(parts, all_ended(parts, ids), 20)


def test_a_late_bell_changes_nothing(parts: SimpleNamespace) -> None:
    ids = accept(parts, {"text": "once"})
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    before = rows(parts, ids)
    parts.intake.on_message(ids[0])
    parts.intake.on_message("0" * 26)
    eventually(lambda: not parts.intake.is_reading)
    assert rows(parts, ids) == before


def in_use(engine: Engine, version: str) -> int:
    """Items of the version in the engine that have no ending yet."""
    return sum(model.in_use for model in engine.models() if model.version == version)


def test_a_claim_that_postgres_forgot_does_not_start_what_runs_again(
    parts: SimpleNamespace, engine: Engine
) -> None:
    ids = accept(parts, {"text": "x", "seconds": 2})
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(lambda: rows(parts, ids)[0].status is Status.PROCESSING and in_use(engine, parts.version) == 1)
    forget = (
        "UPDATE predictions SET status = 'starting', attempt = attempt - 1, worker = NULL, started_at = NULL"
    )
    with parts.core.database.unit() as session:
        session.execute(text(forget))
    parts.intake.on_message(ids[0])
    eventually(lambda: rows(parts, ids)[0].status is Status.PROCESSING)
    eventually(lambda: not parts.intake.is_reading)
    assert in_use(engine, parts.version) == 1
    eventually(all_ended(parts, ids))
    assert (rows(parts, ids)[0].status, rows(parts, ids)[0].attempt) == (Status.SUCCEEDED, 1)


def test_failures_files_and_streams_reach_their_rows(parts: SimpleNamespace) -> None:
    ids = accept(
        parts,
        {"text": "no", "fail": "on purpose"},
        {"text": "kept", "file": True},
        {"text": "ab", "chunks": 3},
    )
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    failed, filed, streamed = rows(parts, ids)
    assert (failed.status, failed.error) == (Status.FAILED, "on purpose")
    assert filed.output == {"$file": f"outputs/{filed.id}/1/echo.txt"}
    assert b"".join(parts.core.storage.open(filed.output["$file"])[0]) == b"kept"
    assert len(streamed.output) == 3
    assert {"load", "batch_wait", "tokenise", "run", "post", "device"} <= set(streamed.metrics)


def test_a_cancel_reaches_what_runs(parts: SimpleNamespace) -> None:
    ids = accept(parts, {"text": "x", "seconds": 60})
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(lambda: rows(parts, ids)[0].status is Status.PROCESSING)
    parts.core.lifecycle.cancel(ids)
    parts.runner.cancel(ids)
    eventually(all_ended(parts, ids))
    assert rows(parts, ids)[0].status is Status.CANCELED


def test_who_allows_less_time_than_the_version_has_it_canceled_with_the_reason(
    parts: SimpleNamespace,
) -> None:
    limited = [
        row(parts.version, text="x", seconds=60) | {"timeout": 0.5},
        row(parts.version, text="y") | {"timeout": 30},
    ]
    ids = list(parts.core.lifecycle.accept(limited))
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids), 30)
    stopped, quick = rows(parts, ids)
    assert (stopped.status, stopped.error) == (Status.CANCELED, "It ran longer than its timeout of 0.5 s.")
    assert (stopped.error_code, quick.status) == (None, Status.SUCCEEDED)


class Refusing:
    """A lifecycle whose `finish` refuses some endings, and for a while all."""

    def __init__(self, poison: str = "", away: int = 0) -> None:
        self.poison, self.away = poison, away
        self.written: list[Ending] = []

    def finish(self, endings: list[Ending]) -> list[Any]:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if any(ending.output == self.poison for ending in endings):
            raise ValueError("cannot be stored")
        self.written += endings
        return [object() for _ in endings]


def ending(output: str) -> Ending:
    return Ending(output, 1, uuid4(), Status.SUCCEEDED, output)


@pytest.mark.parametrize("away", [0, 2])
def test_one_ending_that_cannot_be_stored_fails_alone(away: int) -> None:
    lifecycle = Refusing("poison", away)
    recorder = Recorder(lifecycle)  # type: ignore[arg-type]
    told: dict[str, bool] = {}
    for output in ("a", "poison", "b"):
        recorder.finish(ending(output), lambda written, output=output: told.setdefault(output, written))
    recorder.start()
    eventually(lambda: len(told) == 3)
    recorder.close(1)
    assert told == {"a": True, "poison": True, "b": True}
    statuses = {one.id: one.status for one in lifecycle.written}
    assert statuses == {"a": Status.SUCCEEDED, "poison": Status.FAILED, "b": Status.SUCCEEDED}


def test_endings_are_kept_while_the_database_is_away_and_given_up_at_the_end() -> None:
    lifecycle = Refusing(away=10_000)
    recorder = Recorder(lifecycle)  # type: ignore[arg-type]
    recorder.finish(ending("a"), lambda written: None)
    recorder.start()
    began = time.monotonic()
    recorder.close(0.5)
    assert time.monotonic() - began < 3
    assert lifecycle.written == []


def test_a_claim_that_was_never_begun_goes_back_to_waiting(parts: SimpleNamespace) -> None:
    from app.engine import devices
    from app.worker.heartbeat import Heartbeat, Post

    post = Post(devices.resolve("cpu"), "h", 4)
    heart = Heartbeat(
        parts.core.database,
        parts.runner._engine,
        parts.recorder,
        parts.runner,
        parts.core.recovery(),
        post,
        5,
    )
    heart.register()
    (lost,) = accept(parts, {"text": "x"})
    parts.core.lifecycle.claim([lost], parts.recorder.worker)  # the answer of this claim never came
    heart._beat()
    assert rows(parts, [lost])[0].status is Status.PROCESSING, "it may just be on its way"
    heart._beat()
    back = rows(parts, [lost])[0]
    assert (back.status, back.crashes) == (Status.STARTING, 0)


def test_a_return_that_breaks_leaves_no_slot_taken(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(one: HandBack) -> None:
        raise RuntimeError("not the database's absence")

    monkeypatch.setattr(parts.recorder, "hand_back", broken)
    (one,) = accept(parts, {"text": "x"})
    [prediction] = parts.recorder.claim([one])
    run = parts.runner.running[one] = Run(prediction)
    parts.runner._hand_back_run(run, HandBack(*run.fence, crashes=1))
    assert parts.runner.running == {}


def test_a_sweep_that_takes_long_keeps_no_heartbeat_back(parts: SimpleNamespace) -> None:
    from app.engine import devices
    from app.worker.heartbeat import Heartbeat, Post

    over, begun, beats = threading.Event(), threading.Event(), []

    def sweep() -> None:
        begun.set()
        over.wait(20)

    recovery: Any = SimpleNamespace(sweep=sweep)
    post = Post(devices.resolve("cpu"), "h", 4)
    heart = Heartbeat(
        parts.core.database, parts.runner._engine, parts.recorder, parts.runner, recovery, post, 0.05
    )
    heart._beat = lambda: beats.append(time.monotonic())  # type: ignore[method-assign]
    heart.register()
    heart.start()
    assert begun.wait(10)
    seen = len(beats)
    eventually(lambda: len(beats) > seen + 2)
    over.set()
    heart.stop(lambda: None)


def test_only_messages_of_the_task_are_read() -> None:
    prediction = new_id(1)
    raw = messages.about(names.TASK_PREDICT, prediction, "cpu").encode()
    assert message_id_of(raw, names.TASK_PREDICT) == prediction
    assert message_id_of(raw, names.TASK_DELIVER) is None
    assert message_id_of(b"{", names.TASK_PREDICT) is None
    assert message_id_of(b"[]", names.TASK_PREDICT) is None


def test_what_may_hold_files() -> None:
    uri = {"type": "string", "format": "uri"}
    assert may_write_files(uri)
    assert may_write_files({})
    assert may_write_files({"type": "object"})
    assert may_write_files({"anyOf": [{"type": "string"}, uri]})
    assert not may_write_files({"type": "array", "items": {"type": "number"}})
    assert not may_write_files({"type": "object", "properties": {"label": {"type": "string"}}})
    assert has_files([{"$file": "a"}])
    assert not has_files([[0.1], [0.2]])
    assert wants_files({"image": "http://x"}, {"properties": {"image": uri}})
    assert wants_files({"images": ["http://x"]}, {"properties": {"images": {"type": "array", "items": uri}}})
    assert not wants_files(
        {"text": "http://x", "image": None}, {"properties": {"text": {"type": "string"}, "image": uri}}
    )


def test_growth_is_written_while_it_runs(parts: SimpleNamespace) -> None:
    (slow,) = accept(parts, {"text": "a", "chunks": 20, "seconds": 4})
    start(parts)
    parts.intake.on_message(slow)
    eventually(lambda: bool(rows(parts, [slow])[0].output))
    seen = rows(parts, [slow])[0]
    assert seen.status is Status.PROCESSING
    assert 0 < len(seen.output) < 20
    with parts.core.database.unit() as session:
        session.execute(text("UPDATE predictions SET attempt = attempt + 1"))  # somebody else has it now
    eventually(lambda: slow not in parts.runner.running, 10)


def test_a_second_attempt_leaves_no_file_of_the_first(parts: SimpleNamespace) -> None:
    (twice,) = accept(parts, {"text": "kept", "file": True})
    parts.core.storage.put(f"outputs/{twice}/1/echo.txt", b"of a dead worker", "text/plain")
    with parts.core.database.unit() as session:
        session.execute(text("UPDATE predictions SET attempt = 1"))
    start(parts)
    parts.intake.on_message(twice)
    eventually(all_ended(parts, [twice]))
    eventually(lambda: list(parts.core.storage.list(f"outputs/{twice}/")) == [f"outputs/{twice}/2/echo.txt"])


def test_scratch_folders_of_killed_workers_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = tmp_path / f"{SCRATCH}{gone.pid}-x", tmp_path / f"{SCRATCH}{os.getpid()}-x"
    for folder in (dead, alive):
        (folder / "run").mkdir(parents=True)
    forget_scratch_of_the_dead()
    assert [folder.name for folder in tmp_path.iterdir()] == [alive.name]
