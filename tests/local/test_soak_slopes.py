"""The soak's result: a rise is distinguished from noise and from a constant level."""

import pytest

from scripts.soak.__main__ import show
from scripts.soak.slopes import Sample, after, risen, slope


def test_a_slope_is_the_share_that_is_added_in_ten_minutes() -> None:
    times = [float(n) for n in range(0, 601, 60)]
    assert slope(times, [100 + n / 60 for n in times]) == pytest.approx(10 / 105)
    assert slope(times, [100.0] * len(times)) == 0
    assert slope(times[:2], [1.0, 100.0]) == 0


def test_what_comes_before_the_warm_up_does_not_count() -> None:
    samples = [Sample(float(at), 1, 1) for at in range(5)]
    assert [sample.at for sample in after(samples, 3)] == [3, 4]


@pytest.mark.parametrize(
    ("added", "opened", "until", "good"),
    [(0, 0, 900, True), (50, 0, 900, False), (0, 1, 900, False), (0, 0, 500, False)],
)
def test_a_rise_and_a_process_that_ended_are_breaches(
    added: float, opened: float, until: int, good: bool
) -> None:
    samples = [Sample(float(at), 100_000 + at * added, 50 + opened * at / 60) for at in range(5, until, 5)]
    assert show({"worker 1": samples}, 300, 900) is good


def test_a_floor_that_rises_is_distinguished_from_what_comes_and_goes() -> None:
    assert risen([20, 48, 21, 20, 31, 20, 44, 20, 25]) == 0
    assert risen([20, 48, 21, 23, 31, 23, 44, 24, 25]) == 4
    assert risen([20, 21]) == 0
