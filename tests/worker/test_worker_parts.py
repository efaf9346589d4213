"""From a message to the recorded end, inside one worker."""

import os
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from accepting import accept, all_ended, row, rows
from sqlalchemy import text
from waiting import eventually

from app.broker import messages, names
from app.broker.queue_lists import message_id_of
from app.coalesce import GROUP_BYTES
from app.db import predictions as table
from app.db import workers
from app.domain.errors import DatabaseRefused, Unavailable
from app.domain.predictions import Prediction, Status, new_id
from app.domain.work import LONGEST_ERROR, Canceled, Failed, ModelSpec
from app.engine import devices
from app.engine.engine import Engine
from app.json_text import JsonText
from app.services.predictions.attempts import Ending, HandBack
from app.services.predictions.lifecycle import Claimed
from app.services.predictions.stored_values import output_key, split_input
from app.worker.ending_writer import EndingWriter
from app.worker.handover import Handover
from app.worker.heartbeat import Heartbeat, Post
from app.worker.intake import LOOK_ANYWAY_SECONDS
from app.worker.preparation import DownloadProgress, file_inputs, may_write_files
from app.worker.run import Run, Stop
from app.worker.scratch import SCRATCH, RunFolders, remove_scratch_of_the_dead


def start(parts: SimpleNamespace) -> None:
    parts.ending_writer.start()
    parts.intake.start()


def test_one_message_brings_all_that_waits_in_redis(parts: SimpleNamespace, settings: Any) -> None:
    ids = accept(parts, *({"text": f"t{n}"} for n in range(100)))
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.queue_key("cpu")) >= 100)
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    assert [one.output for one in rows(parts, ids)] == [f"t{n}" for n in range(100)]
    assert connection.llen(names.queue_key("cpu")) == 0
    eventually(lambda: not parts.intake.is_reading)
    assert not parts.in_flight


def test_while_messages_come_the_intake_reads_them_itself(parts: SimpleNamespace, settings: Any) -> None:
    connection = redis.Redis.from_url(settings.redis_url)
    start(parts)
    [first] = accept(parts, {"text": "x"})
    parts.intake.on_message(first)
    eventually(all_ended(parts, [first]))
    others = accept(parts, *({"text": "y"} for _ in range(3)))
    eventually(all_ended(parts, others))
    eventually(lambda: connection.llen(names.queue_key("cpu")) == 0)
    eventually(lambda: not parts.intake.is_reading)


def test_no_more_than_the_slots_are_held(parts: SimpleNamespace) -> None:
    ids = accept(parts, *({"text": "x", "seconds": 0.3} for _ in range(40)))
    most = 0
    start(parts)
    parts.intake.on_message(ids[0])
    end = time.monotonic() + 20
    while not all_ended(parts, ids)() and time.monotonic() < end:
        most = max(most, len(parts.in_flight))
        time.sleep(0.01)
    assert all_ended(parts, ids)()
    assert 8 <= most <= 16


def test_what_no_message_comes_for_is_claimed_after_a_second(parts: SimpleNamespace, settings: Any) -> None:
    ids = accept(parts, {"text": "silent"})
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.queue_key("cpu")) > 0)
    connection.delete(names.queue_key("cpu"))
    start(parts)
    eventually(all_ended(parts, ids), 6)


def notify_others(parts: SimpleNamespace, until: Callable[[], bool], seconds: float) -> None:
    """Messages that never stop, about predictions that are not there."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come about"
        parts.intake.on_message("0" * 26)
        time.sleep(0.1)


def test_messages_that_come_while_postgres_is_away_are_claimed_later(
    parts: SimpleNamespace, settings: Any
) -> None:
    ids = accept(parts, {"text": "kept"})
    connection, claim, tries = redis.Redis.from_url(settings.redis_url), parts.core.lifecycle.claim, []
    eventually(lambda: connection.llen(names.queue_key("cpu")) > 0)
    connection.delete(names.queue_key("cpu"))

    def away_at_first(wanted: list[str], *more: Any) -> Claimed:
        tries.append(wanted)
        if len(tries) == 1:
            raise Unavailable("away")
        claimed: Claimed = claim(wanted, *more)
        return claimed

    parts.core.lifecycle.claim = away_at_first
    parts.core.lifecycle.list_next = lambda *_: []
    start(parts)
    parts.intake.on_message(ids[0])
    notify_others(parts, all_ended(parts, ids), LOOK_ANYWAY_SECONDS - 1)
    assert ids[0] in tries[0], "its only message was lost at first"


def test_a_lost_message_is_made_up_for_though_others_never_stop(
    parts: SimpleNamespace, settings: Any
) -> None:
    ids = accept(parts, {"text": "lost"})
    connection = redis.Redis.from_url(settings.redis_url)
    eventually(lambda: connection.llen(names.queue_key("cpu")) > 0)
    connection.delete(names.queue_key("cpu"))
    start(parts)
    notify_others(parts, all_ended(parts, ids), 20)


def test_a_late_message_changes_nothing(parts: SimpleNamespace) -> None:
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
    parts.in_flight.cancel(ids)
    eventually(all_ended(parts, ids))
    assert rows(parts, ids)[0].status is Status.CANCELED


def test_a_cancel_while_a_file_is_stored_ends_it_and_leaves_no_file(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, storage = accept(parts, {"text": "not kept", "file": True}), parts.core.storage
    put = storage.put

    def cancel_meanwhile(key: str, *more: Any) -> None:
        parts.core.lifecycle.cancel(ids)
        parts.in_flight.cancel(ids)
        put(key, *more)

    monkeypatch.setattr(storage, "put", cancel_meanwhile)
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    assert (rows(parts, ids)[0].status, rows(parts, ids)[0].output) == (Status.CANCELED, None)
    assert list(storage.list(f"outputs/{ids[0]}/")) == []


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


def test_a_long_input_is_read_when_its_turn_comes_and_a_long_output_is_stored(parts: SimpleNamespace) -> None:
    long, middling = "x" * 1_200_000, "y" * 100_000
    split = split_input({"text": long})
    stored = row(parts.version) | {
        "input": split.rest.fragment,
        "input_bytes": split.size,
        "input_key": "inputs/a",
    }
    parts.core.answers.stored.put("inputs/a", split.stored)
    inline = row(parts.version, text=middling) | {"input_bytes": len(middling) + 11}
    ids = list(parts.core.lifecycle.accept([stored, inline, row(parts.version, text="short")]))
    start(parts)
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids), 30)
    with parts.core.database.unit() as session:
        first, second, third = (table.get(session, [each])[each] for each in ids)
    assert (first.output, first.output_key) == ({"items": 1, "files": False}, output_key(first.id, 1))
    assert (first.output_bytes, parts.core.answers.stored.whole_output(first)) == (len(long) + 2, long)
    assert (second.output, second.output_key, third.output) == (middling, None, "short")


class Refusing:
    """A lifecycle whose `finish` refuses some endings, and for a while all."""

    def __init__(self, poison: str = "", away: int = 0) -> None:
        self.poison, self.away = JsonText.from_value(poison), away
        self.most = 10_000
        self.written: list[Ending] = []

    def finish(self, endings: list[Ending]) -> list[Any]:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        if len(endings) > self.most:
            raise DatabaseRefused("too slow", may_pass=True)
        if any(ending.output == self.poison for ending in endings):
            raise ValueError("cannot be stored")
        self.written += endings
        return [object() for _ in endings]


def ending(output: str) -> Ending:
    return Ending(output, 1, uuid4(), Status.SUCCEEDED, JsonText.from_value(output))


@pytest.mark.parametrize("away", [0, 2])
def test_one_ending_that_cannot_be_stored_fails_alone(away: int) -> None:
    lifecycle = Refusing("poison", away)
    writer = EndingWriter(lifecycle)  # type: ignore[arg-type]
    recorded: dict[str, bool] = {}
    for output in ("a", "poison", "b"):
        writer.write(ending(output), lambda written, output=output: recorded.setdefault(output, written))
    writer.start()
    eventually(lambda: len(recorded) == 3)
    writer.close(1)
    assert recorded == {"a": True, "poison": True, "b": True}
    statuses = {one.id: one.status for one in lifecycle.written}
    assert statuses == {"a": Status.SUCCEEDED, "poison": Status.FAILED, "b": Status.SUCCEEDED}


def test_a_refused_group_of_endings_is_written_in_smaller_ones() -> None:
    """A statement that took too long was once repeated as it was for 300 s, then all its work was thrown
    away."""
    lifecycle = Refusing("poison")
    lifecycle.most = 3
    writer = EndingWriter(lifecycle)  # type: ignore[arg-type]
    recorded: list[bool] = []
    for output in [*map(str, range(40)), "poison"]:
        writer.write(ending(output), recorded.append)
    writer.start()
    eventually(lambda: len(recorded) == 41)
    writer.close(1)
    assert all(recorded)
    assert [one.id for one in lifecycle.written if one.status is Status.FAILED] == ["poison"]


def test_large_endings_are_no_group_with_others() -> None:
    groups: list[int] = []

    class Counting(Refusing):
        def finish(self, endings: list[Ending]) -> list[Any]:
            groups.append(sum(len(one.output or ()) for one in endings))
            return super().finish(endings)

    writer = EndingWriter(Counting())  # type: ignore[arg-type]
    recorded: list[bool] = []
    for _ in range(20):
        writer.write(ending("x" * 900_000), recorded.append)
    writer.start()
    eventually(lambda: len(recorded) == 20)
    writer.close(1)
    assert max(groups) <= GROUP_BYTES


def test_endings_are_kept_while_the_database_is_away_and_given_up_at_the_end() -> None:
    lifecycle = Refusing(away=10_000)
    writer = EndingWriter(lifecycle)  # type: ignore[arg-type]
    writer.write(ending("a"), lambda written: None)
    writer.start()
    began = time.monotonic()
    writer.close(0.5)
    assert time.monotonic() - began < 3
    assert lifecycle.written == []


def heartbeat(parts: SimpleNamespace, seconds: float = 5.0, recovery: Any = None) -> Heartbeat:
    """This worker's, registered."""
    made = Heartbeat(
        parts.core.database,
        parts.engine,
        parts.core.lifecycle,
        parts.identity,
        parts.in_flight,
        parts.runner.shares,
        recovery or parts.core.recovery(),
        Post(devices.resolve("cpu"), "h", 4),
        seconds,
        Handover(parts.core.database, parts.engine, parts.identity, parts.in_flight, "cpu@h", 15.0),
    )
    made.register()
    return made


def test_the_fleet_reads_how_far_a_models_download_and_its_load_are(parts: SimpleNamespace) -> None:
    heart = heartbeat(parts)
    heart.downloads = lambda: [DownloadProgress("v" * 64, "ada/far", 30, 40)]
    spec = ModelSpec(secrets.token_hex(32), "ada/slow", "echo", config={"load_seconds": 0.8})
    threading.Thread(target=parts.engine.load, args=[spec]).start()

    def published() -> dict[str, dict[str, Any]]:
        heart._beat()
        with parts.core.database.unit() as session:
            [worker] = workers.live(session, 60.0)
        return {model["model"]: model for model in worker.models}

    coming = eventually(lambda: (models := published()).get("ada/slow", {}).get("arrived_bytes") and models)
    assert (coming["ada/far"]["arrived_bytes"], coming["ada/far"]["expected_bytes"]) == (30, 40)
    assert coming["ada/far"]["bytes"] == 0, "files take no memory"
    assert coming["ada/slow"]["state"] == "loading"
    assert (coming["ada/slow"]["last_batch"], coming["ada/slow"]["padding"]) == (0, 0.0)
    assert coming["ada/slow"]["expected_bytes"] > 0
    eventually(lambda: "arrived_bytes" not in published()["ada/slow"])


def test_a_claim_that_was_never_begun_goes_back_to_waiting(parts: SimpleNamespace) -> None:
    heart = heartbeat(parts)
    (lost,) = accept(parts, {"text": "x"})
    parts.core.lifecycle.claim([lost], parts.identity.id, {})  # the answer of this claim never came
    heart._beat()
    assert rows(parts, [lost])[0].status is Status.PROCESSING, "it may just be on its way"
    heart._beat()
    back = rows(parts, [lost])[0]
    assert (back.status, back.crashes) == (Status.STARTING, 0)


def test_what_was_taken_from_a_worker_that_lives_is_computed_no_longer(parts: SimpleNamespace) -> None:
    heart = heartbeat(parts)
    parts.ending_writer.start()
    taken, kept = accept(parts, {"text": "x", "seconds": 60}, {"text": "y", "seconds": 60})
    parts.runner.start(parts.core.lifecycle.claim([taken, kept], parts.identity.id, {}).predictions)
    eventually(lambda: in_use(parts.engine, parts.version) == 2)
    parts.core.lifecycle.hand_back([HandBack(taken, 1, parts.identity.id)])
    heart._beat()
    assert len(parts.in_flight) == 2, "its end may just be being written"
    heart._beat()
    eventually(lambda: parts.in_flight.attempts() == {(kept, 1)})
    assert [each.status for each in rows(parts, [taken, kept])] == [Status.STARTING, Status.PROCESSING]
    parts.in_flight.cancel([kept])
    eventually(lambda: len(parts.in_flight) == 0)


def bury(parts: SimpleNamespace) -> None:
    """Its lease ran out while it slept, and somebody else's sweep has seen it."""
    with parts.core.database.unit() as session:
        session.execute(text("UPDATE workers SET stopped_at = now()"))


@pytest.mark.parametrize("late", [False, True], ids=["claimed before its burial", "claimed after it"])
def test_what_a_woken_worker_held_waits_again_and_is_not_canceled(parts: SimpleNamespace, late: bool) -> None:
    """Nobody asked for a cancel: 27 of 40 ended so after 25 s of sleep. What the worker has claimed after its
    burial still bears its fence, so a cancel would be recorded."""
    heart = heartbeat(parts)
    former = parts.identity.id
    ids = accept(parts, {"text": "x", "seconds": 60}, {"text": "y", "seconds": 60})
    if late:
        bury(parts)
    parts.ending_writer.start()
    parts.runner.start(parts.core.lifecycle.claim(ids, former, {}).predictions)
    eventually(lambda: in_use(parts.engine, parts.version) == 2)
    bury(parts)
    heart._beat()
    assert parts.identity.id != former
    eventually(lambda: len(parts.in_flight) == 0)
    again = rows(parts, ids)
    assert [(each.status, each.crashes, each.error) for each in again] == [(Status.STARTING, 0, None)] * 2
    claimed = parts.core.lifecycle.claim(ids, parts.identity.id, {}).predictions
    assert [each.attempt for each in claimed] == [2, 2]


def test_what_was_claimed_while_the_worker_was_declared_dead_is_handed_back_unrun(
    parts: SimpleNamespace,
) -> None:
    (prediction_id,) = accept(parts, {"text": "x"})
    claimed = parts.core.lifecycle.claim([prediction_id], parts.identity.id, {}).predictions
    parts.identity.renew(uuid4())
    parts.runner.start(claimed)
    eventually(lambda: len(parts.in_flight) == 0)
    (row_,) = rows(parts, [prediction_id])
    assert (row_.status, row_.crashes) == (Status.STARTING, 0)


def test_a_cancel_that_nobody_asked_for_is_handed_back_as_a_crash(parts: SimpleNamespace) -> None:
    (prediction_id,) = accept(parts, {"text": "x"})
    [prediction] = parts.core.lifecycle.claim([prediction_id], parts.identity.id, {}).predictions
    run = Run(prediction)
    parts.in_flight.add(run)
    parts.runner._on_event(run, Canceled())
    eventually(lambda: len(parts.in_flight) == 0)
    (row_,) = rows(parts, [prediction_id])
    assert (row_.status, row_.crashes) == (Status.STARTING, 1)


def test_of_a_long_error_the_beginning_is_recorded() -> None:
    """Whoever lists a hundred of them reads no megabytes that a library has repeated."""
    run = Run(prediction_of(1))
    run.ending = Failed("no such file: " + "x" * 5_000_000)
    error = run.as_ending(None).error
    assert error is not None
    assert error.startswith("no such file: xxx")
    assert error.endswith("(5,000,014 characters)")
    assert len(error) < LONGEST_ERROR + 100


def test_of_two_reasons_to_stop_the_greater_counts() -> None:
    run = Run(prediction_of(1))
    for reason, counts in (
        (Stop.HAND_BACK, Stop.HAND_BACK),
        (Stop.CANCEL, Stop.CANCEL),
        (Stop.HAND_BACK, Stop.CANCEL),
        (Stop.DROP, Stop.DROP),
        (Stop.CANCEL, Stop.DROP),
    ):
        run.stop(reason)
        assert run.stopped is counts


def prediction_of(attempt: int, worker: UUID = UUID(int=1)) -> Prediction:
    return Prediction(
        "p", None, "v", "a/b", Status.PROCESSING, "cpu", datetime.now(UTC), attempt=attempt, worker=worker
    )


def test_a_late_end_of_an_attempt_does_not_remove_the_next(parts: SimpleNamespace) -> None:
    """The second was canceled by nobody, saved no progress and was handed back while it ran."""
    first, second = Run(prediction_of(1)), Run(prediction_of(2))
    for run in (first, second):
        assert parts.in_flight.add(run)
    assert not parts.in_flight.add(Run(prediction_of(2))), "it runs already"
    parts.runner._ended(first, None)
    assert parts.in_flight.list_all() == [second]
    parts.runner._ended(first, None)
    assert parts.in_flight.attempts() == {("p", 2)}
    parts.in_flight.cancel(["p"])
    assert (first.stopped, second.stopped) == (None, Stop.CANCEL)


def test_an_attempt_that_runs_under_another_number_is_a_stray(parts: SimpleNamespace) -> None:
    """By the database's account this worker runs attempt 1; what runs here is attempt 2 of a lost claim."""
    heart = heartbeat(parts)
    (prediction_id,) = accept(parts, {"text": "x"})
    [prediction] = parts.core.lifecycle.claim([prediction_id], parts.identity.id, {}).predictions
    parts.in_flight.add(Run(replace(prediction, attempt=2)))
    for _ in range(2):
        heart._beat()
    assert rows(parts, [prediction_id])[0].status is Status.STARTING


def test_a_hand_back_that_breaks_leaves_no_slot_taken(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(hand_backs: list[HandBack]) -> None:
        raise RuntimeError("not the database's absence")

    monkeypatch.setattr(parts.core.lifecycle, "hand_back", broken)
    (prediction_id,) = accept(parts, {"text": "x"})
    [prediction] = parts.core.lifecycle.claim([prediction_id], parts.identity.id, {}).predictions
    run = Run(prediction)
    parts.in_flight.add(run)
    parts.runner._hand_back(run, HandBack(*run.fence, crashes=1))
    assert len(parts.in_flight) == 0


def test_a_sweep_that_takes_long_keeps_no_heartbeat_back(parts: SimpleNamespace) -> None:
    over, begun, beats = threading.Event(), threading.Event(), []

    def sweep() -> None:
        begun.set()
        over.wait(20)

    heart = heartbeat(parts, 0.05, SimpleNamespace(sweep=sweep))
    heart._beat = lambda: beats.append(time.monotonic())  # type: ignore[method-assign]
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
    assert file_inputs({"properties": {"image": uri}}) == ("image",)
    assert file_inputs({"properties": {"images": {"type": "array", "items": uri}}}) == ("images",)
    assert file_inputs({"properties": {"text": {"type": "string"}}}) == ()


def test_progress_is_written_while_it_runs(parts: SimpleNamespace) -> None:
    (slow,) = accept(parts, {"text": "a", "chunks": 20, "seconds": 4})
    start(parts)
    parts.intake.on_message(slow)
    eventually(lambda: bool(rows(parts, [slow])[0].output))
    seen = rows(parts, [slow])[0]
    assert seen.status is Status.PROCESSING
    assert 0 < len(seen.output) < 20
    with parts.core.database.unit() as session:
        session.execute(text("UPDATE predictions SET attempt = attempt + 1"))  # somebody else has it now
    eventually(lambda: len(parts.in_flight) == 0, 10)


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
    remove_scratch_of_the_dead()
    assert [folder.name for folder in tmp_path.iterdir()] == [alive.name]


def test_folders_of_ended_runs_are_removed_whether_they_are_there_or_not(tmp_path: Path) -> None:
    ended, running = tmp_path / "ended-1", tmp_path / "running-1"
    for folder in (ended, running):
        (folder / "outputs").mkdir(parents=True)
    folders = RunFolders(tmp_path)
    folders.ended.append("never-1")
    folders.ended.append("ended-1")
    eventually(lambda: not ended.exists())
    assert running.exists()
    later = tmp_path / "later-1"
    later.mkdir()
    folders.ended.append("later-1")
    eventually(lambda: not later.exists())
    folders.close()
    assert not tmp_path.exists()
