"""Whose turn it is among those that wait for a worker: users in turn by device seconds, bands, and nobody
starves."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.fair_shares import FairShares
from app.domain.predictions import Prediction, Status, Waiting
from app.domain.priorities import AGEING_SECONDS, Priority
from app.worker.deferred import DeferredIds, Supply

A, B, C = (uuid4() for _ in range(3))
V = "v" * 64


def waiting(
    user: UUID | None, count: int, first: int = 0, priority: int = 1, version: str = V, seconds: float = 0.0
) -> list[Waiting]:
    return [
        Waiting(
            f"{first + n:06}{'' if user is None else user.hex}{priority}", version, user, priority, seconds
        )
        for n in range(count)
    ]


def claimed(user: UUID) -> Prediction:
    return Prediction("x", user, V, "a/b", Status.PROCESSING, "cpu", datetime.now(UTC))


def of(user: UUID, ids: list[str]) -> int:
    return sum(user.hex in each for each in ids)


class Device:
    """A worker's own device: runs what is popped, one after the other, for as long as `seconds` says."""

    def __init__(self, *weights: tuple[UUID, float]) -> None:
        self.shares = FairShares(lambda version: 1.0)
        self.shares.weights = dict(weights)
        self.deferred = DeferredIds(self.shares)
        self.served: Counter[UUID] = Counter()

    def run(self, count: int, seconds: dict[UUID, float]) -> list[str]:
        ran: list[str] = []
        while len(ran) < count:
            [prediction_id] = self.deferred.pop(Supply({V: 1}), 1, 0.0)
            user = next(user for user in seconds if user.hex in prediction_id)
            charge = self.shares.charge(claimed(user))
            self.shares.begin(charge)
            self.shares.correct(charge, seconds[user])
            self.served[user] += seconds[user]
            ran.append(prediction_id)
        return ran


def test_who_comes_behind_a_flood_is_next() -> None:
    device = Device()
    device.deferred.add(waiting(A, 10_000), 0.0)
    device.run(100, {A: 0.02})
    device.deferred.add(waiting(B, 1, first=500_000), 0.0)
    assert of(B, device.run(2, {A: 0.02, B: 0.02})) == 1


def test_users_share_device_seconds_not_predictions_and_by_their_weights() -> None:
    device = Device((C, 3.0))
    for user in (A, B, C):
        device.deferred.add(waiting(user, 2_000), 0.0)
    device.run(1_500, {A: 4.0, B: 1.0, C: 0.5})
    assert 0.9 < device.served[A] / device.served[B] < 1.1
    assert 2.8 < device.served[C] / device.served[B] < 3.2


def test_a_user_saves_nothing_up_while_away() -> None:
    device = Device()
    device.deferred.add(waiting(A, 1_000), 0.0)
    device.run(500, {A: 1.0})
    device.deferred.add(waiting(B, 1_000, first=500_000), 0.0)
    ran = device.run(100, {A: 1.0, B: 1.0})
    assert 45 <= of(B, ran) <= 55


def test_one_of_a_user_who_has_none_in_work_does_not_wait_for_capacity() -> None:
    deferred = DeferredIds(FairShares())
    deferred.add([*waiting(A, 5), *waiting(B, 5)], 0.0)
    full = Supply({V: 0}, {V: {A}})
    assert not deferred.has_capacity(full.capacity)
    assert deferred.has_newcomer(full)
    closed = Supply({V: -1}, {V: {A}})
    assert (deferred.pop(closed, 64, 0.0), deferred.has_newcomer(closed)) == ([], False)
    assert of(B, deferred.pop(full, 64, 0.0)) == 1
    both = Supply({V: 0}, {V: {A, B}})
    assert (deferred.pop(both, 64, 0.0), deferred.has_newcomer(both)) == ([], False)


def test_a_higher_band_goes_first_and_who_waits_long_rises() -> None:
    deferred = DeferredIds(FairShares())
    deferred.add(waiting(A, 1, priority=Priority.BATCH, seconds=2 * AGEING_SECONDS + 1), 0.0)
    deferred.add(waiting(B, 3, first=10, priority=Priority.BATCH), 0.0)
    deferred.add(waiting(C, 3, first=20, priority=Priority.INTERACTIVE), 0.0)
    deferred.add(waiting(A, 1, first=30, priority=Priority.DEFAULT), 0.0)
    popped = deferred.pop(Supply(), 64, 0.0)
    assert [each[-1] for each in popped] == list("20001222")
    assert of(A, popped[:1]) == 1


def test_beyond_the_limit_the_longest_queue_is_forgotten_and_nobody_elses() -> None:
    deferred = DeferredIds(FairShares(), most=100)
    deferred.add(waiting(A, 200), 0.0)
    assert deferred.has_forgotten
    deferred.add(waiting(B, 10, first=500), 0.0)
    assert deferred.count == 100
    popped = deferred.pop(Supply(), 1_000, 0.0)
    assert (of(B, popped), of(A, popped)) == (10, 90)
    assert deferred.add(waiting(A, 200), 0.0) == 200, "what was forgotten may come again"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([A, B, None]), st.sampled_from("uv"), st.integers(0, 2)), max_size=40),
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("uv"), st.integers(0, 5)), st.integers(0, 9)), max_size=9
    ),
)
def test_what_is_deferred_is_popped_once_in_each_users_order_and_within_the_capacity(
    added: list[Any], takes: list[Any]
) -> None:
    deferred, all_held = DeferredIds(FairShares()), {version: {A, B, None} for version in "uv"}
    for number, (user, version, band) in enumerate(added):
        deferred.add(waiting(user, 1, number, band, version) * 2, 0.0)
    by_id = {
        waiting(user, 1, number, band, version)[0].id: (user, version, band)
        for number, (user, version, band) in enumerate(added)
    }
    assert deferred.count == len(by_id)
    seen: list[str] = []
    for capacity, most in takes:
        taken = deferred.pop(Supply(capacity, all_held), most, 0.0)
        assert len(taken) <= most
        counts = Counter(by_id[each][1] for each in taken)
        assert all(counts[version] <= capacity.get(version, most) for version in counts)
        seen += taken
    seen += deferred.pop(Supply(), 1_000, 0.0)
    assert sorted(seen) == sorted(by_id)
    for key in set(by_id.values()):
        of_one = [each for each in seen if by_id[each] == key]
        assert of_one == sorted(of_one)
