"""Forward passes side by side: every row once, answers in order, the lanes equally full."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import jobs, load, run

from app.domain.work import Finished, ModelSpec
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.lanes import LEAST_CELLS, Lanes
from app.runtimes.rows import cells, cut_by_length, cut_evenly

LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=80)


def model(threads: int, **config: object) -> ModelSpec:
    return ModelSpec("v", "test/model", "embedding", threads=threads, config=config)


@given(LENGTHS, st.integers(64, 4_096), st.integers(1, 4))
def test_every_row_is_in_one_part_and_no_part_is_larger_than_it_must_be(lengths: list[int], budget: int, lanes: int) -> None:
    parts = cut_evenly(lengths, budget, lanes)
    assert sorted(number for part in parts for number in part) == list(range(len(lengths)))
    assert all(cells(lengths, part) <= budget or len(part) == 1 for part in parts)
    fewest = len(list(cut_by_length(lengths, budget)))
    assert fewest <= len(parts) <= -(-fewest // lanes) * lanes


def test_one_batch_becomes_two_parts_of_about_the_same_work() -> None:
    lengths = [10] * 30 + [100] * 3
    parts = cut_evenly(lengths, 10_000, 2)
    assert sorted(cells(lengths, part) for part in parts) == [300, 300]


@given(LENGTHS)
def test_answers_come_in_the_order_of_the_rows(lengths: list[int]) -> None:
    lanes = Lanes(model(2))

    def run_part(part: Sequence[int]) -> Sequence[int]:
        return [number * 10 for number in part]

    assert lanes.each(lengths, run_part) == [number * 10 for number in range(len(lengths))]
    assert 0.0 <= lanes.padding < 1.0


@pytest.mark.parametrize(
    ("spec", "rows", "wanted"),
    [
        (model(2), [64] * 8, 2),
        (model(8), [64] * 8, 2),
        (model(1), [64] * 8, 1),
        (model(2), [LEAST_CELLS // 4] * 3, 1),
        (model(2, torch_compile=True), [64] * 8, 1),
        (ModelSpec("v", "test/model", "embedding", threads=2, trust_remote_code=True), [64] * 8, 1),
        (ModelSpec("v", "test/model", "embedding", device="cuda:0", threads=8), [64] * 8, 1),
    ],
    ids=["two cores", "eight cores", "one core", "little work", "compiled", "somebody's own code", "an accelerator"],
)
def test_how_many_lanes_work_at_once(spec: ModelSpec, rows: list[int], wanted: int) -> None:
    together = threading.Barrier(wanted, timeout=10)

    def run_part(part: Sequence[int]) -> Sequence[int]:
        together.wait()
        return part

    assert Lanes(spec).each(rows, run_part) == list(range(len(rows)))


def test_vectors_are_the_same_with_and_without_lanes(tmp_path: Path) -> None:
    texts = ["The whale is white. " * n for n in (1, 20, 3, 12, 7, 1, 30, 2)]
    found = {}
    for threads in (1, 2):
        runtime = load("embedding", demo_minilm_folder() or "", threads=threads)
        ended, _ = run(runtime, jobs(runtime, [{"text": text} for text in texts], tmp_path / str(threads)))
        found[threads] = [one.output for one in ended.values() if isinstance(one, Finished)]
    assert len(found[1]) == len(texts)
    numpy.testing.assert_allclose(found[1], found[2], atol=1e-5)
