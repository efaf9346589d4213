"""What happened to a prediction: told from its row, the attempts that were handed back, and its webhooks."""

from datetime import UTC, datetime, timedelta

from moving import accepted, claim, claimed, ending, living_worker, now

from app.composition_core import Core
from app.domain.deliveries import Delivery, DeliveryAttempt
from app.domain.history import HistoryEvent, list_events
from app.domain.predictions import Prediction, Status
from app.services.predictions.attempts import STOPPED, HandBack
from app.services.predictions.prediction_history import PredictionHistory

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def told(core: Core, prediction: Prediction) -> list[tuple[str, int | None, str | None, str | None]]:
    events = PredictionHistory(core.database).list_events(now(core, prediction))
    assert [each.at for each in events] == sorted(each.at for each in events)
    return [(each.event, each.attempt, each.worker, each.reason) for each in events]


def test_each_attempt_is_there_with_its_worker_and_why_it_was_handed_back(core: Core) -> None:
    first, second = living_worker(core, "cuda:0"), living_worker(core)
    running = claimed(core, first)
    core.lifecycle.hand_back([HandBack(running.id, 1, first, 1, "signal 9")])
    waits = [
        ("accepted", None, None, None),
        ("started", 1, "cuda:0@h", None),
        ("handed_back", 1, "cuda:0@h", "signal 9"),
    ]
    assert told(core, running) == waits
    claim(core, second, running.id)
    core.lifecycle.hand_back([HandBack(running.id, 2, second)])
    [again] = claim(core, second, running.id)
    core.lifecycle.finish([ending(again, Status.FAILED, error="no such label")])
    assert told(core, running) == [
        *waits,
        ("started", 2, "cpu@h", None),
        ("handed_back", 2, "cpu@h", STOPPED),
        ("started", 3, "cpu@h", None),
        ("failed", 3, "cpu@h", "no such label"),
    ]


def test_one_that_ends_at_its_first_attempt_writes_nothing_beside_its_row(core: Core) -> None:
    running = claimed(core, living_worker(core))
    core.lifecycle.finish([ending(running, metrics={"backend": "gpu"})])
    events = PredictionHistory(core.database).list_events(now(core, running))
    assert [(each.event, each.backend) for each in events] == [
        ("accepted", None),
        ("started", None),
        ("succeeded", "gpu"),
    ]


def test_one_that_was_canceled_while_it_waited_has_no_attempt(core: Core) -> None:
    waiting = accepted(core)
    core.lifecycle.cancel([waiting.id], "its user was disabled")
    assert told(core, waiting) == [
        ("accepted", None, None, None),
        ("canceled", None, None, "its user was disabled"),
    ]


def test_the_history_goes_with_the_data_but_for_what_the_row_knows(core: Core) -> None:
    worker = living_worker(core)
    running = claimed(core, worker)
    core.lifecycle.hand_back([HandBack(running.id, 1, worker, 1, "signal 9")])
    [again] = claim(core, worker, running.id)
    core.lifecycle.finish([ending(again)])
    core.lifecycle.remove_data([running.id])
    assert [event for event, *_ in told(core, running)] == [
        "accepted",
        "started",
        "succeeded",
        "data_removed",
    ]


def test_every_try_of_a_webhook_stands_among_the_events() -> None:
    def at(seconds: int) -> datetime:
        return NOON + timedelta(seconds=seconds)

    prediction = Prediction(
        "0" * 26, None, "v" * 64, "ada/echo", Status.SUCCEEDED, "cpu", at(0), attempt=1, started_at=at(1)
    )
    prediction.completed_at = at(2)
    tries = (DeliveryAttempt(at(3), 500, None, 0.2), DeliveryAttempt(at(4), 200, None, 0.1))
    delivery = Delivery(
        id="d",
        event="completed",
        url="http://receiver.test",
        tries=2,
        created_at=at(2),
        next_at=None,
        delivered_at=at(4),
        given_up_at=None,
        attempts=tries,
    )
    events = list_events(prediction, [], "cpu@h", [delivery])
    assert [each.event for each in events] == ["accepted", "started", "succeeded", "webhook", "webhook"]
    assert events[-1] == HistoryEvent(
        at(4), "webhook", webhook="completed", status_code=200, seconds=0.1, reason=None
    )
