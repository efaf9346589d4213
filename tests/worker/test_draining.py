"""A drained worker takes nothing new and hands back what it has; out of a paused queue nothing is claimed."""

import time
from types import SimpleNamespace

import pytest
from accepting import accept, all_ended, rows
from waiting import eventually

from app.domain.predictions import Status
from app.engine import devices
from app.events.fleet_changes import FleetChangePublisher
from app.services.people.access import Principal
from app.services.platform.fleet_operations import FleetOperations
from app.services.predictions.queues import Queues
from app.worker.draining import Draining
from app.worker.handover import Handover
from app.worker.heartbeat import Heartbeat, Post

OPERATOR = Principal(None, "root", frozenset({"admin"}), is_admin=True)


@pytest.fixture
def heart(parts: SimpleNamespace) -> Heartbeat:
    """This worker's, registered; operators' orders come with it."""
    heart = Heartbeat(
        parts.core.database,
        parts.engine,
        parts.core.lifecycle,
        parts.identity,
        parts.in_flight,
        parts.runner.shares,
        parts.core.recovery(),
        Post(devices.resolve("cpu"), "h", 16),
        5.0,
        Handover(parts.core.database, parts.engine, parts.identity, parts.in_flight, "cpu", 15.0),
    )
    heart.on_fleet_state = Draining(parts.intake, parts.in_flight, 0.5).apply
    heart.register()
    return heart


@pytest.fixture
def fleet(parts: SimpleNamespace) -> FleetOperations:
    return FleetOperations(parts.core.database, FleetChangePublisher(parts.core.redis), 15.0)


@pytest.fixture
def queues(parts: SimpleNamespace) -> Queues:
    core = parts.core
    return Queues(core.database, core.lifecycle, core.notifier, FleetChangePublisher(core.redis), 15.0)


def start(parts: SimpleNamespace) -> None:
    parts.ending_writer.start()
    parts.intake.start()


def test_a_drained_worker_hands_back_what_it_has_and_takes_nothing_until_it_is_resumed(
    parts: SimpleNamespace, heart: Heartbeat, fleet: FleetOperations
) -> None:
    start(parts)
    running = accept(parts, {"text": "x", "seconds": 60})
    parts.intake.on_message(running[0])
    eventually(lambda: [run.in_batch for run in parts.in_flight.list_all()] == [True])
    assert fleet.drain(OPERATOR, "cpu@h").is_draining
    heart._beat()
    later = accept(parts, {"text": "later"})
    parts.intake.on_message(later[0])
    assert parts.intake.is_reading, "Celery leaves messages to others"
    time.sleep(0.6)
    assert len(parts.in_flight) == 1, "what runs has its grace"
    heart._beat()
    eventually(lambda: len(parts.in_flight) == 0)
    assert [each.status for each in rows(parts, running + later)] == [Status.STARTING] * 2
    assert [each.crashes for each in rows(parts, running)] == [0]
    fleet.resume(OPERATOR, "cpu@h")
    heart._beat()
    eventually(all_ended(parts, later), 10)
    parts.core.lifecycle.cancel(running)
    parts.in_flight.cancel(running)
    eventually(all_ended(parts, running))


def test_nothing_is_claimed_out_of_a_paused_queue_until_it_is_resumed(
    parts: SimpleNamespace, heart: Heartbeat, queues: Queues
) -> None:
    queues.pause(OPERATOR, "cpu")
    heart._beat()
    start(parts)
    ids = accept(parts, {"text": "a"}, {"text": "b"})
    for each in ids:
        parts.intake.on_message(each)
    time.sleep(1.2)  # longer than the silence after which a worker looks at the rows
    assert [each.status for each in rows(parts, ids)] == [Status.STARTING] * 2
    queues.resume(OPERATOR, "cpu")
    heart._beat()
    eventually(all_ended(parts, ids), 10)


def test_the_next_beat_comes_at_once_when_redis_says_so(parts: SimpleNamespace, heart: Heartbeat) -> None:
    beats: list[bool] = []
    heart.on_fleet_state = lambda *, drained, paused: beats.append(drained)
    heart.start()
    heart.hurry()
    eventually(lambda: beats == [False], 3)
    heart.stop(lambda: None)
