"""The pure parts: batches, eviction, retries, health, deadlines."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.work import Chunk, Delivered, Event, Finished, Restarted, Started, Work
from app.engine import deadlines, model_cache, retry_policy
from app.engine.batch_policy import (
    CostModel,
    Limits,
    Waiting,
    find_cuts,
    nearest_lengths,
    next_batch,
    padding_share,
)
from app.engine.model_cache import Resident, Step, Then
from app.engine.model_states import Absent, BackingOff, Loading, Ready, without_process
from app.engine.open_work import OpenWork
from app.engine.retry_policy import Death, Health
from app.engine.work_items import Handle, WorkItem

WAITING = st.lists(st.builds(Waiting, st.sampled_from("abc"), st.integers(1, 500)), max_size=60)
LIMITS = st.builds(Limits, st.integers(1, 40), st.sampled_from([0, 1, 100, 1000]))
COSTS = st.builds(CostModel, st.floats(0, 1000), st.floats(0, 10), st.floats(0, 2), st.floats(0, 0.1))


@given(WAITING, LIMITS, COSTS)
def test_every_item_is_run_exactly_once_and_the_oldest_is_always_next(
    waiting: list[Waiting], limits: Limits, cost_model: CostModel
) -> None:
    left = list(range(len(waiting)))
    done: list[int] = []
    while left:
        batch = [left[index] for index in next_batch([waiting[i] for i in left], limits, cost_model)]
        assert left[0] in batch
        done += batch
        left = [index for index in left if index not in batch]
    assert sorted(done) == list(range(len(waiting)))


@given(WAITING, LIMITS, COSTS)
def test_a_batch_has_one_key_and_keeps_the_limits(
    waiting: list[Waiting], limits: Limits, cost_model: CostModel
) -> None:
    batch = [waiting[index] for index in next_batch(waiting, limits, cost_model)]
    assert len({item.key for item in batch}) <= 1
    assert len(batch) <= limits.size
    longest = max((item.length for item in batch), default=0)
    assert len(batch) <= 1 or not limits.tokens or len(batch) * longest <= limits.tokens
    assert [item.length for item in batch] == sorted(item.length for item in batch)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), COSTS, st.integers(1, 9))
def test_no_other_cutting_is_cheaper(lengths: list[int], cost_model: CostModel, size: int) -> None:
    lengths.sort()

    def cost(marks: list[int]) -> float:
        return sum(cost_model.batch_cost(end - start, lengths[end - 1]) for start, end in pairwise(marks))

    count = len(lengths)
    every = [
        [0, *(mark for mark in range(1, count) if bits >> mark & 1), count] for bits in range(0, 2**count, 2)
    ]
    allowed = [marks for marks in every if all(end - start <= size for start, end in pairwise(marks))]
    assert cost(find_cuts(lengths, Limits(size), cost_model)) == pytest.approx(min(map(cost, allowed)))


@given(WAITING, LIMITS)
def test_a_batch_without_padding_is_as_full_as_the_limits_allow(
    waiting: list[Waiting], limits: Limits
) -> None:
    chosen = next_batch(waiting, limits, unpadded=True)
    batch, same = (
        [waiting[index] for index in chosen],
        [item for item in waiting if item.key == waiting[0].key],
    )
    lengths = [item.length for item in batch]
    assert 0 in chosen or not waiting
    assert {item.key for item in batch} <= {waiting[0].key for _ in batch[:1]}
    assert lengths == sorted(lengths)
    assert len(batch) <= limits.size
    assert len(batch) <= 1 or not limits.tokens or sum(lengths) <= limits.tokens
    assert limits.tokens or len(batch) == min(limits.size, len(same))


def test_nearest_lengths_are_those_around_the_oldest() -> None:
    lengths = [5, 18, 20, 21, 30, 90]
    assert lengths[nearest_lengths(lengths, 2, Limits(3))] == [18, 20, 21]
    assert lengths[nearest_lengths(lengths, 5, Limits(2))] == [30, 90]
    assert lengths[nearest_lengths(lengths, 4, Limits(9, 75))] == [20, 21, 30]


def test_short_texts_do_not_wait_for_a_long_one() -> None:
    waiting = [Waiting("", length) for length in (10, 250, 11, 12, 240, 10)]
    assert next_batch(waiting, Limits(32)) == [0, 5, 2, 3]


def test_padding_is_the_share_of_empty_cells() -> None:
    assert padding_share([]) == 0.0
    assert padding_share([4, 4]) == 0.0
    assert padding_share([1, 3]) == pytest.approx(1 / 3)


RESIDENTS = st.lists(
    st.builds(
        Resident, st.uuids().map(str), st.integers(0, 100), st.floats(0, 9), st.booleans(), st.booleans()
    )
)


@given(RESIDENTS, st.integers(0, 300), st.integers(1, 300))
def test_eviction_spares_what_is_used_or_pinned_and_goes_by_age(
    residents: list[Resident], needed: int, budget: int
) -> None:
    plan = model_cache.plan_eviction(residents, needed, budget)
    by_version = {resident.version: resident for resident in residents}
    gone = [by_version[version] for version in plan.evict]
    assert not any(resident.in_use or resident.pinned for resident in gone)
    assert [resident.last_used for resident in gone] == sorted(resident.last_used for resident in gone)
    left = sum(resident.bytes for resident in residents) - sum(resident.bytes for resident in gone)
    assert plan.fits == (left + needed <= budget)
    spared = [r for r in residents if r not in gone and not r.in_use and not r.pinned]
    assert plan.fits or not spared


def test_without_a_budget_nothing_is_evicted() -> None:
    assert model_cache.plan_eviction([Resident("a", 5, 0)], 10, 0) == model_cache.Plan((), True)


BUSY = Resident("busy", 60, 1.0, in_use=True, ready_at=5.0)
OLDER = Resident("older", 60, 2.0, in_use=True, ready_at=1.0)
PINNED = Resident("pinned", 60, 0.0, pinned=True, ready_at=0.5)
LOADING = Resident("loading", 60, 0.0, in_use=True)
IDLE = Resident("idle", 60, 3.0)


def test_a_load_evicts_what_is_idle_and_begins() -> None:
    assert model_cache.next_step([BUSY, IDLE], 40, 100, 0.0) == Step(("idle",), Then.LOAD)
    assert model_cache.next_step([], 400, 100, 0.0) == Step((), Then.LOAD)
    assert model_cache.next_step([PINNED, IDLE], 60, 100, 0.0) == Step(("idle",), Then.LOAD), "or never"


def test_a_load_waits_for_models_in_use_then_holds_the_one_that_is_loaded_for_longest() -> None:
    residents = [BUSY, OLDER, PINNED, LOADING]
    assert model_cache.next_step(residents, 60, 100, 1.0) == Step((), Then.WAIT)
    assert model_cache.next_step(residents, 60, 100, 2.1) == Step((), Then.WAIT, hold="older")
    held = [BUSY, replace(OLDER, held=True), PINNED]
    assert model_cache.next_step(held, 60, 100, 3.0) == Step((), Then.WAIT), "one at a time"
    assert model_cache.next_step([LOADING], 60, 100, 3.0) == Step((), Then.WAIT)
    assert model_cache.next_step(residents, 60, 100, 10.1) == Step((), Then.GO_OVER_BUDGET)


def test_items_that_died_together_are_isolated_in_halves_then_alone() -> None:
    assert retry_policy.isolation_groups(range(5), 1) == [[0, 1, 2], [3, 4]]
    assert retry_policy.isolation_groups(range(3), 2) == [[0], [1], [2]]
    assert retry_policy.isolation_groups(range(2), 1) == [[0], [1]]
    assert retry_policy.isolation_groups([], 1) == []


def test_five_deaths_in_a_minute_make_a_version_unhealthy_for_longer_each_time() -> None:
    health = Health()
    for second in range(4):
        health = retry_policy.after_death(health, Death(float(second)), "killed", isolated=False)
    assert not health.blocked(4.0)
    health = retry_policy.after_death(health, Death(4.0), "killed", isolated=False)
    assert health.blocked(8.9)
    assert not health.blocked(9.1)
    assert "5 times" in health.reason
    waits = []
    for _ in range(9):
        health = retry_policy.after_failed_load(health, 0.0, "no")
        waits.append(health.until)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0, 300.0]
    assert retry_policy.after_success(health).backoffs == 0


def test_one_failed_load_is_no_illness_and_three_in_a_row_are_until_a_load_is_good() -> None:
    health, ill = Health(), []
    for _ in range(3):
        health = retry_policy.after_failed_load(health, 0.0, "no")
        ill.append(health.unhealthy)
    assert ill == [False, False, True]
    well = retry_policy.after_load(health)
    assert (well.unhealthy, well.reason, well.blocked(1.0), well.backoffs) == (False, "", False, 3)


def test_what_backed_off_is_tried_again_in_time_unless_nobody_wants_it_any_more() -> None:
    backing_off = without_process(retry_policy.after_failed_load(Health(), 100.0, "no"), 100.0)
    assert not Absent().is_probe_due(1.0, 0.0)
    assert not backing_off.is_probe_due(104.9, 100.0)
    assert backing_off.is_probe_due(105.0, 100.0)
    assert not backing_off.is_probe_due(800.0, 100.0)


def test_what_backs_off_refuses_work_with_the_reason_until_its_time_is_over() -> None:
    backing_off = BackingOff(until=105.0, reason="no")
    refusal = backing_off.refusal(101.0)
    assert refusal is not None
    assert (refusal.code, refusal.error) == (
        "model_unavailable",
        "the model is unavailable: no; tried again in 4 s",
    )
    assert backing_off.refusal(105.0) is None
    assert Absent().refusal(101.0) is None


def test_deaths_of_more_than_a_minute_ago_are_forgotten() -> None:
    health = Health()
    for second in range(0, 400, 20):
        health = retry_policy.after_death(health, Death(float(second)), "killed", isolated=False)
    assert not health.blocked(400.0)


def test_a_version_whose_processes_are_killed_but_that_succeeds_between_goes_on() -> None:
    health = Health()
    for second in range(50):
        health = retry_policy.after_death(health, Death(float(second)), "killed", isolated=False)
        health = retry_policy.after_success(health)
    assert not health.blocked(50.0)


def test_the_search_for_a_poison_input_does_not_close_the_model() -> None:
    health = Health()
    for second in range(20):
        health = retry_policy.after_success(health)
        health = retry_policy.after_death(health, Death(float(second)), "killed", isolated=True)
    assert not health.blocked(20.0)


def test_one_caller_cannot_close_a_model_for_others_and_several_in_turn_can() -> None:
    health = Health()
    for second in range(50):
        health = retry_policy.after_death(health, Death(float(second), "eve"), "killed", isolated=False)
    assert not health.blocked(50.0)
    health = retry_policy.after_death(health, Death(50.0, "bob"), "killed", isolated=False)
    assert health.blocked(50.0), "nothing has succeeded since"
    health = Health()
    for second in range(50):
        health = retry_policy.after_death(health, Death(float(second), "eve"), "killed", isolated=False)
        health = retry_policy.after_death(health, Death(float(second), "bob"), "killed", isolated=False)
        health = retry_policy.after_success(health)
    assert not health.blocked(50.0), "it works for others"


def opened(*names: str) -> tuple[OpenWork, list[WorkItem]]:
    """These items, sent and begun."""
    open_work = OpenWork()
    for name in names:
        open_work.add(WorkItem(Work(name, {}), name, Handle(name, lambda event: None)))
    return open_work, begin(open_work, 0.0)


def begin(open_work: OpenWork, now: float) -> list[WorkItem]:
    """Sends what is due; it starts at once."""
    due = open_work.take_due()
    for sent in due:
        sent.pass_on(Started())
        sent.started_at = now or 1e-9
    return due


def die(open_work: OpenWork, now: float) -> WorkItem | None:
    convicted = open_work.blame("killed", now)
    open_work.requeue("killed")
    return convicted


def test_after_a_death_all_come_back_together_and_after_another_in_halves() -> None:
    open_work, items = opened(*"abcd")
    assert die(open_work, 1.0) is None
    assert begin(open_work, 2.0) == items
    die(open_work, 3.0)
    assert begin(open_work, 4.0) == items[:2]
    assert begin(open_work, 4.0) == [], "one group at a time"
    die(open_work, 5.0)
    assert begin(open_work, 6.0) == [items[0]]
    assert die(open_work, 7.0) is items[0]
    assert items[0].suspected_at == (1.0, 3.0, 5.0, 7.0)


def test_a_half_that_goes_on_for_a_while_lets_the_other_in() -> None:
    open_work, items = opened(*"abcd")
    for moment in (1.0, 3.0):
        die(open_work, moment)
        began = moment + 1
        begin(open_work, began)
    late = began + retry_policy.PROVEN_SECONDS
    open_work.on_progress(items[0], late)
    open_work.on_progress(items[1], late - 1)
    assert begin(open_work, late) == []
    open_work.on_progress(items[1], late)
    assert begin(open_work, late) == items[2:]
    die(open_work, late + 1)
    assert begin(open_work, late + 2) == [items[0]], "it may have been one of these after all"


def test_deaths_that_lie_apart_never_split_a_batch() -> None:
    open_work, items = opened(*"abcd")
    for number in range(retry_policy.BYSTANDER_DEATHS - 1):
        die(open_work, 10.0 * number)
        assert begin(open_work, 10.0 * number + 1) == items
        for each in items:
            open_work.on_progress(each, 10.0 * number + 1 + retry_policy.PROVEN_SECONDS)


def test_another_run_that_says_something_else_replaces_all_and_says_so() -> None:
    events: list[Event] = []
    twice = WorkItem(Work("w", {}), "w", Handle("w", events.append))
    for event in (Started(), Chunk("a"), Chunk("b"), Chunk("c")):
        twice.pass_on(event)
    for run in (["a", "b", "c", "d"], ["a", "x"]):
        twice.reset()
        twice.pass_on(Started())
        for data in run:
            twice.pass_on(Chunk(data))
    assert events == [
        Started(),
        *map(Chunk, "abcd"),
        Restarted(),
        *map(Chunk, "ax"),
    ]
    twice.reset()
    twice.pass_on(Started())
    twice.pass_on(Chunk("a"))
    twice.put_end(Finished(["a"]))
    assert events[-3:-1] == [Restarted(), Chunk("a")], "it ends sooner than before"


def test_a_run_that_goes_on_is_passed_on_from_there() -> None:
    events: list[Event] = []
    earlier = Delivered(["a", "b"], [[1], [2]])
    resumed = WorkItem(Work("w", {}, delivered=earlier), "w", Handle("w", events.append))
    resumed.pass_on(Started(1, 2))
    resumed.pass_on(Chunk("c", [3]))
    assert events == [Started(1, 2), Chunk("c", [3])]
    assert resumed.delivered == Delivered(["a", "b", "c"], [[1], [2], [3]])
    assert len(earlier) == 2, "what the worker keeps is its own"


def item(started_at: float = 0.0, timeout: float = 0.0, **more: float) -> WorkItem:
    waiting = WorkItem(Work("w", {}, timeout=timeout), "w", Handle("w", print), accepted_at=0.0)
    return replace(waiting, sent=True, started_at=started_at, **more)  # type: ignore[arg-type]


TIMES = deadlines.Timeouts(cancel=3.0, stall=60.0)


def test_a_batch_that_is_late_together_is_isolated_and_one_alone_is_at_fault() -> None:
    together = [item(1.0, 5.0, late_at=7.0), item(1.0, 5.0, late_at=7.0), item(1.0)]
    actions = deadlines.check(together, 10.1, 7.0, TIMES)
    assert actions.isolate == together[:2]
    assert actions.kill
    assert deadlines.check(together[1:], 10.1, 7.0, TIMES).timed_out == [together[1]]
    again = [item(1.0, 5.0, late_at=7.0, deaths=2), item(1.0, 5.0, late_at=7.0, deaths=2)]
    assert deadlines.check(again, 10.1, 7.0, TIMES).timed_out == again


def test_a_late_item_is_asked_to_stop_before_its_process_is_killed() -> None:
    late, neighbour = item(1.0, 5.0), item(1.0)
    assert deadlines.check([late, neighbour], 5.9, 5.9, TIMES) == deadlines.Actions()
    assert deadlines.check([late, neighbour], 6.1, 6.1, TIMES) == deadlines.Actions(stop=[late])
    asked = replace(late, late_at=6.1)
    assert deadlines.check([asked, neighbour], 9.0, 9.0, TIMES) == deadlines.Actions()
    assert deadlines.check([asked, neighbour], 9.2, 9.2, TIMES) == deadlines.Actions(
        timed_out=[asked], kill=True
    )


def test_bystanders_of_a_kill_are_neither_blamed_nor_isolated_one_by_one() -> None:
    open_work = OpenWork()
    bystanders = [WorkItem(Work(name, {}), name, Handle(name, print)) for name in "abcd"]
    for bystander in bystanders:
        open_work.add(bystander)
    for _ in range(retry_policy.MOST_INTERRUPTIONS + retry_policy.MOST_RESENDS):
        assert open_work.take_due() == bystanders, "all together, every time"
        open_work.requeue("killed for another", interrupted=True)
    newcomer = WorkItem(Work("e", {}, timeout=0.1), "e", Handle("e", print))
    open_work.add(newcomer)
    assert open_work.take_due() == bystanders, "interrupted often enough, they are shielded from newcomers"
    assert len(open_work) == 5
    assert {bystander.resends for bystander in bystanders} == {0}


@pytest.mark.parametrize(
    ("idle", "own", "workers", "unloaded"),
    [
        (9, None, 0, False),
        (9, None, 5, True),
        (4, None, 5, False),
        (9, -1, 5, False),
        (9, 20, 5, False),
        (0.1, 0, 0, True),
    ],
)
def test_the_versions_own_keep_alive_goes_before_the_workers(
    idle: float, own: float | None, workers: float, unloaded: bool
) -> None:
    assert deadlines.is_idle(idle, own, deadlines.Timeouts(keep_alive=workers)) is unloaded


def test_an_unresponsive_item_is_answered_but_its_process_only_killed_when_it_is_alone() -> None:
    unresponsive, neighbour = item(1.0, cancel_at=2.0), item(1.0)
    assert deadlines.check([unresponsive], 4.0, 4.0, TIMES).canceled == []
    assert deadlines.check([unresponsive, neighbour], 6.0, 6.0, TIMES) == deadlines.Actions(
        canceled=[unresponsive]
    )
    assert deadlines.check([unresponsive], 6.0, 6.0, TIMES) == deadlines.Actions(
        canceled=[unresponsive], kill=True
    )


def test_a_process_without_a_sign_of_life_is_killed_whatever_it_runs() -> None:
    running = item(1.0)
    assert deadlines.check([running], 9.0, 9.0, TIMES, silence=29.0) == deadlines.Actions()
    assert deadlines.check([running], 9.0, 9.0, TIMES, silence=31.0) == deadlines.Actions(
        kill=True, intended=False, reason="it gave no sign of life for 31 s"
    )


def test_silence_counts_only_while_the_engine_itself_was_awake() -> None:
    link = SimpleNamespace(last_alive_at=100.0)
    ready = Ready(Loading(), link, {}, 100.0)  # type: ignore[arg-type]
    assert [ready.check_silence(now) for now in (100.25, 100.5)] == [0.25, 0.5]
    assert ready.check_silence(200.5) == 1.0, "stopped for 100 s"
    link.last_alive_at = 200.6
    assert ready.check_silence(200.75) == 0.0


def test_silence_while_items_wait_counts_as_a_hang() -> None:
    waiting = item(0.0)
    assert not deadlines.check([waiting], 59.0, 0.0, TIMES).kill
    assert deadlines.check([waiting], 61.0, 0.0, TIMES) == deadlines.Actions(
        kill=True, intended=False, reason="it has begun nothing for 60 s"
    )
    assert not deadlines.check([waiting, item(1.0)], 61.0, 0.0, TIMES).kill
