"""Forward passes side by side: every row once, answers in order, the threads equally busy."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import Feed, jobs, load, run

from app.domain.work import Finished, ModelSpec
from app.runtimes.base import Job
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.encoders.parallel_passes import LEAST_CELLS, ParallelPasses
from app.runtimes.encoders.rows import cells, cut_by_length, cut_evenly

LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=80)


def model(threads: int, **config: object) -> ModelSpec:
    return ModelSpec("v", "test/model", "embedding", threads=threads, config=config)


@given(LENGTHS, st.integers(64, 4_096), st.integers(1, 4))
def test_every_row_is_in_one_part_and_no_part_is_larger_than_it_must_be(
    lengths: list[int], budget: int, parallel: int
) -> None:
    parts = cut_evenly(lengths, budget, parallel)
    assert sorted(number for part in parts for number in part) == list(range(len(lengths)))
    assert all(cells(lengths, part) <= budget or len(part) == 1 for part in parts)
    fewest = len(list(cut_by_length(lengths, budget)))
    assert fewest <= len(parts) <= -(-fewest // parallel) * parallel


@given(LENGTHS, st.integers(64, 4_096), st.integers(1, 4))
def test_rows_that_are_not_padded_are_cut_by_their_sum(
    lengths: list[int], budget: int, parallel: int
) -> None:
    parts = cut_evenly(lengths, budget, parallel, unpadded=True)
    assert sorted(number for part in parts for number in part) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in part) <= budget or len(part) == 1 for part in parts)
    for part in parts:
        count = sum(lengths[number] for number in part)
        assert count <= cells(lengths, part, unpadded=True) < count + 16


def test_one_batch_becomes_two_parts_of_about_the_same_work() -> None:
    lengths = [10] * 30 + [100] * 3
    parts = cut_evenly(lengths, 10_000, 2)
    assert sorted(cells(lengths, part) for part in parts) == [300, 300]


def rows_of(*jobs: Sequence[int]) -> list[Job]:
    """Jobs whose rows are their own lengths."""
    return [Job(str(number), {}, prepared=list(rows)) for number, rows in enumerate(jobs)]


def times_ten(rows: list[int]) -> list[int]:
    return [row * 10 for row in rows]


@given(st.lists(LENGTHS, min_size=1, max_size=6), st.lists(LENGTHS, max_size=6))
def test_every_job_gets_the_answers_of_its_rows_in_their_order(
    first: list[list[int]], late: list[list[int]]
) -> None:
    jobs = rows_of(*first, *late)
    feed = Feed(late=jobs[len(first) :])
    found = list(ParallelPasses(model(2), length=int).run_batch(jobs[: len(first)], feed, times_ten))
    assert sorted(one.job.id for one in found) == sorted(job.id for job in jobs)
    assert all(one.answers == times_ten(one.job.prepared) and 0.0 <= one.padding < 1.0 for one in found)


def test_a_thread_whose_pass_has_ended_does_not_wait_for_the_other() -> None:
    [slow, quick, late] = rows_of([300], [200], [100])
    joined = threading.Event()

    def work(rows: list[int]) -> list[int]:
        if rows == [300]:
            assert joined.wait(10)
        if rows == [100]:
            joined.set()
        return rows

    first, *others = ParallelPasses(model(2), length=int).run_batch([slow, quick], Feed(late=[late]), work)
    assert first.job is quick
    assert {one.job.id for one in others} == {slow.id, late.id}


def test_a_pass_that_is_alone_runs_in_the_callers_own_thread_with_all_of_them() -> None:
    ran: list[tuple[int, int]] = []

    def work(rows: list[int]) -> list[int]:
        ran.append((threading.get_ident(), torch.get_num_threads()))
        return rows

    passes, before = ParallelPasses(model(2), length=int), torch.get_num_threads()
    try:
        list(passes.run_batch(rows_of([20]), Feed(late=rows_of([20])), work))
        assert ran == [(threading.get_ident(), 2)] * 2
        list(passes.run_batch(rows_of([300], [301]), Feed(), work))
        assert {threads for _, threads in ran[2:]} == {1}
        assert threading.get_ident() not in {thread for thread, _ in ran[2:]}
    finally:
        torch.set_num_threads(before)


def test_a_pass_that_fails_waits_for_the_one_beside_it() -> None:
    ended = threading.Event()

    def work(rows: list[int]) -> list[int]:
        if rows == [300]:
            raise ValueError("the weights are gone")
        time.sleep(0.1)
        ended.set()
        return rows

    with pytest.raises(ValueError, match="the weights are gone"):
        list(ParallelPasses(model(2), length=int).run_batch(rows_of([300], [200]), Feed(), work))
    assert ended.is_set()


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
    ids=[
        "two cores",
        "eight cores",
        "one core",
        "little work",
        "compiled",
        "somebody's own code",
        "an accelerator",
    ],
)
def test_how_many_passes_run_at_once(spec: ModelSpec, rows: list[int], wanted: int) -> None:
    together = threading.Barrier(wanted, timeout=10)

    def work(rows: list[int]) -> list[int]:
        together.wait()
        return rows

    [one] = ParallelPasses(spec, length=int).run_batch(rows_of(rows), Feed(), work)
    assert one.answers == rows


def test_vectors_are_the_same_with_and_without_passes_side_by_side(tmp_path: Path) -> None:
    texts = ["The whale is white. " * n for n in (1, 20, 3, 12, 7, 1, 30, 2)]
    found = {}
    for threads in (1, 2):
        runtime = load("embedding", demo_minilm_folder() or "", threads=threads)
        ended, _ = run(runtime, jobs(runtime, [{"text": text} for text in texts], tmp_path / str(threads)))
        found[threads] = [one.output for _, one in sorted(ended.items()) if isinstance(one, Finished)]
    assert len(found[1]) == len(texts)
    numpy.testing.assert_allclose(found[1], found[2], atol=1e-5)
