"""A claimed prediction is `starting` until its model has it in hand."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
from accepting import accept, add_version, all_ended, row, rows
from sqlalchemy import select
from waiting import eventually

from app.db.tables import DeliveryRow
from app.domain.predictions import Prediction, Status
from app.domain.work import Finished, Started
from app.worker.progress_saver import LOOK_SECONDS, SAVE_SECONDS, is_due
from app.worker.run import Run, take_progress

HOOK = "http://receiver.test/hook"


@pytest.fixture
def working(parts: SimpleNamespace) -> SimpleNamespace:
    parts.ending_writer.start()
    parts.intake.start()
    return parts


def status(parts: SimpleNamespace, prediction_id: str) -> Status:
    return rows(parts, [prediction_id])[0].shown_status


def is_claimed(parts: SimpleNamespace, prediction_id: str) -> bool:
    return rows(parts, [prediction_id])[0].status is Status.PROCESSING


def with_start(parts: SimpleNamespace, version: str, **given: Any) -> str:
    wishes = {"webhook": HOOK, "webhook_events": ["start", "completed"]}
    [prediction_id] = parts.core.lifecycle.accept([{**row(version, **given), **wishes}])
    return str(prediction_id)


def bodies(parts: SimpleNamespace, prediction_id: str) -> dict[str, dict[str, Any]]:
    with parts.core.database.unit() as session:
        query = select(DeliveryRow).where(DeliveryRow.prediction_id == prediction_id)
        return {each.event: orjson.loads(each.body) for each in session.scalars(query)}


def test_while_its_model_is_loaded_it_is_starting_and_no_start_is_sent(working: SimpleNamespace) -> None:
    loads = add_version(working, "echo", load_seconds=4)
    prediction_id = with_start(working, loads, text="x", seconds=60)
    working.intake.on_message(prediction_id)
    eventually(lambda: is_claimed(working, prediction_id))
    assert status(working, prediction_id) is Status.STARTING
    assert bodies(working, prediction_id) == {}
    assert [run.in_batch for run in working.in_flight.list_all()] == [False], "it was looked at in time"
    eventually(lambda: status(working, prediction_id) is Status.PROCESSING, 60)
    assert [run.in_batch for run in working.in_flight.list_all()] == [True]
    assert set(bodies(working, prediction_id)) == {"start"}
    working.in_flight.cancel([prediction_id])
    eventually(all_ended(working, [prediction_id]))


def test_while_others_are_in_the_batch_it_is_starting(working: SimpleNamespace) -> None:
    [first] = accept(working, {"text": "x", "seconds": 60})
    working.intake.on_message(first)
    eventually(lambda: status(working, first) is Status.PROCESSING, 60)
    [behind] = accept(working, {"text": "y", "seconds": 60})
    working.intake.on_message(behind)
    eventually(lambda: is_claimed(working, behind))
    assert (status(working, first), status(working, behind)) == (Status.PROCESSING, Status.STARTING)
    working.core.lifecycle.cancel([first])
    working.in_flight.cancel([first])
    eventually(lambda: status(working, behind) is Status.PROCESSING)
    working.core.lifecycle.cancel([behind])
    working.in_flight.cancel([behind])
    eventually(all_ended(working, [first, behind]))


def test_a_short_runs_start_is_sent_before_its_end(working: SimpleNamespace) -> None:
    prediction_id = with_start(working, working.version, text="x")
    working.intake.on_message(prediction_id)
    eventually(all_ended(working, [prediction_id]), 60)
    sent = bodies(working, prediction_id)
    assert (sent["start"]["status"], sent["start"]["completed_at"]) == ("starting", None)
    assert (sent["completed"]["status"], sent["completed"]["output"]) == ("succeeded", "x")


def test_a_model_that_cannot_be_loaded_begins_nothing(working: SimpleNamespace) -> None:
    broken = add_version(working, "embedding", source="path:/nowhere")
    prediction_id = with_start(working, broken, text="x")
    working.intake.on_message(prediction_id)
    eventually(all_ended(working, [prediction_id]), 60)
    assert set(bodies(working, prediction_id)) == {"completed"}


def begun(**more: Any) -> Run:
    worker = UUID(int=1)
    prediction = Prediction(
        "p" * 26, None, "v", "a/b", Status.PROCESSING, "cpu", datetime.now(UTC), worker=worker, **more
    )
    run = Run(prediction)
    run.on_event(Started(1))
    return run


def test_a_short_run_costs_no_write() -> None:
    run = begun()
    assert not is_due(run, run.batch_at + LOOK_SECONDS / 2)
    assert is_due(run, run.batch_at + LOOK_SECONDS)
    run.on_event(Finished("x"))
    assert take_progress(run) is None


def test_that_it_has_begun_is_written_once_and_a_wish_for_the_start_at_once() -> None:
    run = begun(webhook=HOOK, webhook_events=["start"])
    assert is_due(run, run.batch_at)
    update = take_progress(run)
    assert update is not None
    assert (update.begun, update.webhook_events) == (True, ("start",))
    run.begun_written = True
    assert not is_due(run, run.batch_at + 2 * SAVE_SECONDS)
    assert take_progress(run) is None
    run.on_event(Finished("x"))
    assert not run.as_ending(None).owes_start
