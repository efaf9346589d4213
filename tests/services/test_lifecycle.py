"""Every move of a prediction: who may make it, what it writes, and what a late one does (nothing)."""

import time
from dataclasses import replace
from uuid import uuid4

import orjson
import pytest
from moving import accepted, begin, claim, claimed, ending, living_worker, now, row
from sqlalchemy import select, text

from app.composition_core import Core
from app.db.tables import DeliveryRow
from app.domain.predictions import Status
from app.services.predictions.attempts import HandBack, ProgressUpdate
from app.services.predictions.lifecycle import Claimed

HOOK = "http://receiver.test/hook"


def outbox(core: Core, prediction_id: str) -> list[DeliveryRow]:
    with core.database.unit() as session:
        return list(
            session.scalars(
                select(DeliveryRow)
                .where(DeliveryRow.prediction_id == prediction_id)
                .order_by(DeliveryRow.created_at)
            )
        )


def deferred_ids(got: Claimed) -> list[str]:
    return [waiting.id for waiting in got.deferred]


def test_a_prediction_is_claimed_once(core: Core) -> None:
    waiting = accepted(core)
    first, second = living_worker(core), living_worker(core)
    [mine] = claim(core, first, waiting.id)
    assert (mine.status, mine.attempt, mine.worker) == (Status.PROCESSING, 1, first)
    assert core.lifecycle.claim([waiting.id, "0" * 26], second, {}) == Claimed([], [])
    assert claim(core, second, waiting.id) == []


def test_of_a_version_no_more_are_claimed_than_there_is_capacity_for(core: Core) -> None:
    """The oldest first; the others are named, for when there is more."""
    heavy = sorted(accepted(core, version_id="h" * 64).id for _ in range(3))
    light = [accepted(core, version_id="l" * 64).id for _ in range(3)]
    taken = claimed(core, living_worker(core), version_id="h" * 64).id
    got = core.lifecycle.claim([*heavy, *light, taken], living_worker(core), {"h" * 64: 2, "x": 0})
    assert {each.id for each in got.predictions} == {*heavy[:2], *light}
    assert deferred_ids(got) == heavy[2:]
    again = core.lifecycle.claim(heavy[2:], living_worker(core), {"h" * 64: 0})
    assert (again.predictions, deferred_ids(again)) == ([], heavy[2:])
    [last] = core.lifecycle.claim(heavy[2:], living_worker(core), {"h" * 64: 1}).predictions
    assert last.id == heavy[2]


def test_a_claim_leaves_a_locked_row_to_whoever_has_it(core: Core) -> None:
    """So two claims that come by the same rows in another order wait for each other in no case."""
    first, second = accepted(core).id, accepted(core).id
    with core.database.unit() as session:
        session.execute(text("SELECT FROM predictions WHERE id = :id FOR UPDATE"), {"id": first})
        [mine] = claim(core, living_worker(core), second, first)
    assert mine.id == second
    assert [each.id for each in claim(core, living_worker(core), first)] == [first]


def test_a_passed_deadline_is_neither_claimed_nor_deferred(core: Core) -> None:
    late = accepted(core, cancel_after=0.001).id
    time.sleep(0.01)
    for ids in ([late], [late, accepted(core).id]):
        got = core.lifecycle.claim(ids, living_worker(core), {"v" * 64: 0})
        assert late not in {each.id for each in got.predictions} | set(deferred_ids(got))


def test_a_success_is_recorded_once(core: Core) -> None:
    running = claimed(core, living_worker(core))
    [done] = core.lifecycle.finish([ending(running, output=[1, 2], metrics={"run": 1.5}, logs="said")])
    assert done is not None
    assert (done.status, done.metrics) == (Status.SUCCEEDED, {"run": 1.5})
    assert done.completed_at is not None
    found = now(core, running)
    assert (found.status, found.output, found.logs, found.metrics) == (
        Status.SUCCEEDED,
        [1, 2],
        "said",
        {"run": 1.5},
    )
    assert core.lifecycle.finish([ending(running, Status.FAILED, error="late")]) == [None]
    assert now(core, running).status is Status.SUCCEEDED


def test_a_late_end_beside_the_real_one_is_not_taken_for_it(core: Core) -> None:
    former = claimed(core, living_worker(core))
    core.lifecycle.hand_back_all(former.worker or uuid4())
    [again] = claim(core, living_worker(core), former.id)
    late, real = core.lifecycle.finish([ending(former, output="late"), ending(again, output="real")])
    assert late is None
    assert real is not None
    assert now(core, again).output == "real"


@pytest.mark.parametrize(
    "change", [{"attempt": 2}, {"attempt": 0}, {"worker": uuid4()}], ids=["newer", "older", "another worker"]
)
def test_a_write_without_the_fence_changes_nothing(core: Core, change: dict[str, object]) -> None:
    running = claimed(core, living_worker(core))
    assert core.lifecycle.finish([replace(ending(running), **change)]) == [None]
    progress_update = ProgressUpdate(running.id, running.attempt, running.worker or uuid4(), ["x"])
    assert core.lifecycle.save_progress([replace(progress_update, **change)]) == [False]
    assert now(core, running).status is Status.PROCESSING
    assert now(core, running).output is None


def test_a_zombie_whose_work_was_retried_writes_nothing(core: Core) -> None:
    zombie = claimed(core, living_worker(core))
    core.lifecycle.hand_back([HandBack(zombie.id, zombie.attempt, zombie.worker or uuid4(), crashes=1)])
    [again] = claim(core, living_worker(core), zombie.id)
    assert again.attempt == 2
    assert core.lifecycle.finish([ending(zombie, output="zombie's")]) == [None]
    assert core.lifecycle.finish([ending(again, output="owner's")]) != [None]
    assert now(core, again).output == "owner's"


def test_progress_shows_output_logs_and_steps(core: Core) -> None:
    running = claimed(core, living_worker(core))
    assert running.worker
    assert core.lifecycle.save_progress(
        [ProgressUpdate(running.id, 1, running.worker, ["a"], "log", {"done": 1, "total": 3})]
    ) == [True]
    assert core.lifecycle.save_progress([ProgressUpdate(running.id, 1, running.worker, ["a", "b"])]) == [True]
    found = now(core, running)
    assert (found.output, found.logs, found.progress) == (["a", "b"], "log", {"done": 1, "total": 3})


def test_a_waiting_prediction_that_is_canceled_never_starts(core: Core) -> None:
    waiting = accepted(core)
    found = core.lifecycle.cancel([waiting.id])
    assert found[waiting.id].status is Status.CANCELED
    assert claim(core, living_worker(core), waiting.id) == []


def test_a_running_prediction_that_is_canceled_ends_so_whatever_the_model_answers(core: Core) -> None:
    running = claimed(core, living_worker(core))
    assert core.lifecycle.cancel([running.id])[running.id].status is Status.PROCESSING
    [done] = core.lifecycle.finish([ending(running, Status.FAILED, error="it failed at the same time")])
    assert done is not None
    assert (done.status, done.error) == (Status.CANCELED, None)


def test_cancelling_what_has_ended_changes_nothing(core: Core) -> None:
    running = claimed(core, living_worker(core))
    core.lifecycle.finish([ending(running, output="x")])
    assert core.lifecycle.cancel([running.id])[running.id].status is Status.SUCCEEDED
    assert core.lifecycle.cancel([running.id])[running.id].output == "x"


def test_three_deaths_end_it_as_failed_with_a_reason(core: Core) -> None:
    waiting = accepted(core, webhook=HOOK)
    for attempt in (1, 2, 3):
        with core.database.unit() as session:
            session.connection().exec_driver_sql("UPDATE predictions SET run_after = now()")
        [running] = claim(core, living_worker(core), waiting.id)
        assert running.attempt == attempt
        hand_back = HandBack(running.id, attempt, running.worker or uuid4(), 1, "signal 9")
        ended = core.lifecycle.hand_back([hand_back])
        assert [prediction.id for prediction in ended] == [running.id][: attempt == 3], "the third ends it"
    found = now(core, waiting)
    assert (found.status, found.error_code) == (Status.FAILED, "worker_crashed")
    assert found.error == "Its process died 3 times while running it: signal 9."
    assert [one.event for one in outbox(core, waiting.id)] == ["completed"]


def test_a_stopping_worker_hands_everything_back_without_blame(core: Core) -> None:
    worker = living_worker(core)
    held = [claimed(core, worker) for _ in range(3)]
    assert core.lifecycle.hand_back_all(worker) == 3
    for one in held:
        assert (now(core, one).status, now(core, one).crashes) == (Status.STARTING, 0)


def test_work_handed_back_after_a_cancel_ends_as_canceled(core: Core) -> None:
    running = claimed(core, living_worker(core))
    core.lifecycle.cancel([running.id])
    core.lifecycle.hand_back([HandBack(running.id, 1, running.worker or uuid4())])
    assert now(core, running).status is Status.CANCELED


def next_ids(core: Core, most: int, *queues: str) -> list[str]:
    return [waiting.id for waiting in core.lifecycle.list_next(queues, most)]


def test_a_look_finds_the_first_of_everybody_whatever_waits_before_them(core: Core) -> None:
    flood, bob = str(uuid4()), str(uuid4())
    first = core.lifecycle.accept([row(user_id=flood) for _ in range(50)])
    nobodys = sorted(accepted(core).id for _ in range(3))  # of one millisecond in any order
    bobs = [accepted(core, user_id=bob, priority=band).id for band in (1, 2)]
    light = accepted(core, user_id=flood, version_id="l" * 64).id
    accepted(core, user_id=bob, queue="cuda")
    found = next_ids(core, 10, "cpu", "any")
    assert found == [*sorted(first)[:2], *nobodys, *bobs, light]
    [waiting] = [each for each in core.lifecycle.list_next(["cpu"], 10) if each.id == bobs[1]]
    assert (str(waiting.user_id), waiting.priority, waiting.version_id) == (bob, 2, "v" * 64)


def test_a_look_sees_what_is_due_and_nothing_that_somebody_has(core: Core) -> None:
    taken, late = claimed(core, living_worker(core)).id, accepted(core, cancel_after=0.001).id
    time.sleep(0.01)
    free = accepted(core).id
    assert next_ids(core, 10, "cpu") == [free]
    assert not {taken, late}.intersection(next_ids(core, 10, "cpu"))


def test_the_events_that_were_asked_for_are_in_the_outbox(core: Core) -> None:
    running = claimed(
        core, living_worker(core), webhook=HOOK, webhook_events=["start", "output", "completed"]
    )
    assert running.worker
    assert outbox(core, running.id) == [], "it is claimed, and its model has not begun it"
    events = ("start", "output", "logs")
    core.lifecycle.save_progress(
        [ProgressUpdate(running.id, 1, running.worker, ["a"], "log", webhook_events=events, number=7)]
    )
    core.lifecycle.finish([ending(running, output=["a"])])
    bodies = {each.id: orjson.loads(each.body) for each in outbox(core, running.id)}
    assert {name.removeprefix(f"msg_{running.id}_"): body["status"] for name, body in bodies.items()} == {
        "start": "starting",
        "output_7": "processing",
        "completed": "succeeded",
    }
    last = bodies[f"msg_{running.id}_completed"]
    assert (last["input"], last["output"]) == (running.input, ["a"])
    assert all(one.url == HOOK for one in outbox(core, running.id))


def test_without_a_filter_output_and_completed_are_sent_and_without_a_webhook_nothing(core: Core) -> None:
    told = claimed(core, living_worker(core), webhook=HOOK)
    silent = claimed(core, living_worker(core))
    core.lifecycle.finish([ending(told), ending(silent)])
    assert [one.event for one in outbox(core, told.id)] == ["completed"]
    assert outbox(core, silent.id) == []


def test_a_run_that_was_too_short_for_an_output_event_sends_it_with_its_end(core: Core) -> None:
    running = claimed(core, living_worker(core), webhook=HOOK, webhook_events=["output", "completed"])
    core.lifecycle.finish([ending(running, output=["a"], owes_output=True)])
    sent = {one.event: orjson.loads(one.body)["output"] for one in outbox(core, running.id)}
    assert sent == {"output": ["a"], "completed": ["a"]}


def test_a_run_that_was_too_short_for_a_start_event_sends_it_with_its_end_as_it_was_then(core: Core) -> None:
    running = claimed(core, living_worker(core), webhook=HOOK, webhook_events=["start", "completed"])
    core.lifecycle.finish([ending(running, output=["a"], logs="said", owes_start=True)])
    bodies = {one.event: orjson.loads(one.body) for one in outbox(core, running.id)}
    assert set(bodies) == {"start", "completed"}
    start = bodies["start"]
    shown = [start[name] for name in ("status", "output", "logs", "metrics", "completed_at")]
    assert shown == ["starting", None, "", {}, None]
    assert (start["input"], bool(start["started_at"])) == (running.input, True)


def test_a_start_is_sent_once_however_often_it_is_owed(core: Core) -> None:
    running = claimed(core, living_worker(core), webhook=HOOK, webhook_events=["start"])
    begin(core, running, webhook_events=("start",))
    core.lifecycle.finish([ending(running, owes_start=True)])
    assert [(one.event, orjson.loads(one.body)["completed_at"]) for one in outbox(core, running.id)] == [
        ("start", None)
    ]


def test_a_claimed_prediction_is_starting_until_its_model_begins_it_and_again_when_it_waits(
    core: Core,
) -> None:
    running = claimed(core, living_worker(core))
    assert running.worker
    assert (running.status, running.shown_status) == (Status.PROCESSING, Status.STARTING)
    core.lifecycle.save_progress(
        [ProgressUpdate(running.id, 1, running.worker, logs="installs its packages")]
    )
    assert now(core, running).shown_status is Status.STARTING
    begin(core, running)
    assert now(core, running).shown_status is Status.PROCESSING
    core.lifecycle.save_progress([ProgressUpdate(running.id, 1, running.worker, progress={"done": 1})])
    begin(core, running)
    assert now(core, running).progress == {"done": 1}, "what is known is kept"
    core.lifecycle.hand_back([HandBack(running.id, 1, running.worker)])
    assert now(core, running).shown_status is Status.STARTING
    [again] = claim(core, living_worker(core), running.id)
    assert again.shown_status is Status.STARTING
    core.lifecycle.finish([ending(again)])
    assert now(core, running).shown_status is Status.SUCCEEDED


def test_a_move_that_fails_leaves_no_webhook(core: Core) -> None:
    running = claimed(core, living_worker(core), webhook=HOOK, webhook_events=["completed"])
    assert core.lifecycle.finish([replace(ending(running), attempt=9)]) == [None]
    assert outbox(core, running.id) == []


def test_an_idempotency_key_makes_one_row(core: Core) -> None:
    user = str(uuid4())
    first = core.lifecycle.accept(
        [row(user_id=user, idempotency_key="k"), row(user_id=user, idempotency_key="other")]
    )
    second = core.lifecycle.accept(
        [row(user_id=user, idempotency_key="k"), row(user_id=str(uuid4()), idempotency_key="k")]
    )
    assert (len(first), len(second)) == (2, 1)


def test_removed_data_is_gone_and_the_row_stays(core: Core) -> None:
    running, still = claimed(core, living_worker(core)), claimed(core, living_worker(core))
    core.lifecycle.finish([ending(running, output="secret", logs="secret")])
    core.lifecycle.remove_data([running.id, still.id])
    found = now(core, running)
    assert (found.input, found.output, found.logs, found.status) == (None, None, "", Status.SUCCEEDED)
    assert core.view.render(found)["data_removed"] is True
    assert now(core, still).input == {"text": "x"}
