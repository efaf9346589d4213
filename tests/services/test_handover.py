"""What a worker has claimed and not begun goes to idle siblings, once, and what must stay here stays."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from moving import accepted, claim, living_worker, now

from app.composition_core import Core
from app.db import workers
from app.domain.handover import count_to_hand_back
from app.domain.predictions import DIRECT, Status
from app.services.predictions.attempts import HandBack
from app.worker.handover import Handover
from app.worker.identity import WorkerIdentity
from app.worker.run import InFlight, Run, Stop

OWN = "cpu@h"


@pytest.mark.parametrize(
    ("seconds", "idle", "count"),
    [
        ([5.0] * 58, 0, 0),
        ([5.0] * 58, 1, 29),
        ([5.0] * 58, 2, 39),
        ([5.0], 1, 1),
        ([0.001] * 200, 1, 0),
        ([], 3, 0),
    ],
)
def test_siblings_and_this_worker_get_equal_parts_of_what_takes_long(
    seconds: list[float], idle: int, count: int
) -> None:
    assert count_to_hand_back(seconds, idle) == count


def handover(core: Core, in_flight: InFlight, state: str = "ready") -> Handover:
    engine: Any = SimpleNamespace(pace=lambda version: 5.0, states=lambda: {"v" * 64: state})
    return Handover(core.database, engine, WorkerIdentity(), in_flight, OWN, 15.0)


def runs(core: Core, count: int, **more: Any) -> list[Run]:
    """Claimed by this worker, from its own queue; none has begun."""
    ids = [accepted(core, queue=OWN, **more).id for _ in range(count)]
    return [Run(each) for each in sorted(claim(core, uuid4(), *ids), key=lambda each: each.id)]


def stopped(held: list[Run]) -> list[bool]:
    return [run.stopped is Stop.HAND_OVER for run in held]


def test_the_last_that_were_claimed_go_to_an_idle_sibling_once(core: Core) -> None:
    in_flight, held = InFlight(), runs(core, 5)
    held[0].in_batch = True
    for run in held:
        in_flight.add(run)
    hand_over = handover(core, in_flight)
    hand_over.look()
    assert not any(stopped(held)), "there is no sibling"
    living_worker(core, "cuda")
    hand_over.look()
    assert not any(stopped(held)), "another class may be unable to"
    sibling = living_worker(core)
    hand_over.look()
    assert stopped(held) == [False, False, False, True, True]
    assert in_flight.held_back() == ["v" * 64], "it would be claimed again at once"
    hand_over.look()
    assert sum(stopped(held)) == 2, "it does not know yet what the sibling makes of it"
    with core.database.unit() as session:
        workers.beat(session, sibling, running=1, models=[])
    handover(core, in_flight).look()
    assert sum(stopped(held)) == 2, "the sibling is at work"


@pytest.mark.parametrize(("state", "held"), [("ready", []), ("loading", ["v" * 64])])
def test_who_still_loads_a_model_does_not_claim_back_what_it_handed_over(
    core: Core, monkeypatch: pytest.MonkeyPatch, state: str, held: list[str]
) -> None:
    """Seen: a worker that came under load had claimed what its loaded sibling waited for, up to ten times."""
    monkeypatch.setattr("app.worker.handover.HOLD_SECONDS", 0.0)
    in_flight, sibling = InFlight(), living_worker(core)
    for run in runs(core, 3):
        in_flight.add(run)
    handover(core, in_flight, state).look()
    assert sibling
    assert in_flight.held_back() == held


def test_what_is_bound_to_this_worker_stays(core: Core) -> None:
    in_flight, living = InFlight(), living_worker(core)
    bound = [
        *runs(core, 2, routing={"strategy": "pinned"}),
        *runs(core, 2, routing={"requires": {"memory_bytes": 1}}),
        *runs(core, 2, source=DIRECT),
    ]
    for run in bound:
        in_flight.add(run)
    handover(core, in_flight).look()
    assert living
    assert not any(stopped(bound))


def test_what_is_handed_over_waits_for_whoever_of_the_class_is_free(core: Core) -> None:
    [run] = runs(core, 1)
    core.lifecycle.hand_back([HandBack(*run.fence, to_class=True)])
    found = now(core, run.prediction)
    assert (found.status, found.queue, found.crashes) == (Status.STARTING, "cpu", 0)


def test_what_waits_for_a_busy_worker_alone_is_moved_when_a_sibling_is_idle(core: Core) -> None:
    in_flight = InFlight()
    for run in runs(core, 2):
        in_flight.add(run)
    waiting, pinned = accepted(core, queue=OWN), accepted(core, queue=OWN, routing={"strategy": "pinned"})
    living_worker(core)
    handover(core, in_flight).look()
    assert [now(core, each).queue for each in (waiting, pinned)] == ["cpu", OWN]
