"""Percentiles, medians, ratios, the choice of a sweep: pure functions, each on figures that can be checked by
hand."""

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from app.bench import compare as comparing
from app.bench import plot, process_cpu, sweep, versions
from app.bench.caller import Refused, Sample, parsed, parsed_event
from app.bench.experiment import Experiment
from app.bench.figures import Run, latencies, median, percentile, summary
from app.bench.load import Amount, Raw, arrivals
from app.bench.results import LevelResult, Result, Where


def run(throughput: float, p95: float = 10.0, **more: Any) -> Run:
    spread = {name: p95 for name in ("mean", "p50", "p90", "p95", "p99", "max")}
    given = {"seconds": 1, "succeeded": 10, "errors": {}, "cpu_ms": {}, **more}
    return Run.model_validate({**given, "throughput": throughput, "latency_ms": spread})


def result(*rates: float, levels: tuple[int, ...] = (8,), **changes: Any) -> Result:
    where = Where(
        url="u", platform_version="1", local=True, cores=2, processor="p", python="3", devices={"cpu": 1}
    )
    experiment = Experiment(model="demo/echo", inputs={"fixed": {}}, **changes.pop("experiment", {}))  # type: ignore[arg-type]
    given = {
        "experiment": experiment,
        "version": "v",
        "config": {},
        "inputs": "same",
        "where": where,
        **changes,
    }
    made = [
        LevelResult.from_runs([run(rate, 1000 / rate) for rate in rates], concurrency=level)
        for level in levels
    ]
    return Result(**given, levels=made)


def test_a_percentile_is_the_smallest_value_that_covers_the_share() -> None:
    values = [float(one) for one in range(1, 201)]
    assert [percentile(values, share) for share in (0.5, 0.9, 0.95, 0.99, 1)] == [100, 180, 190, 198, 200]
    assert percentile([3.0], 0.5) == percentile([3.0], 0.99) == 3.0


def test_times_are_milliseconds_in_any_order() -> None:
    seconds = [one / 1000 for one in range(1, 101)]
    random.Random(1).shuffle(seconds)
    found = latencies(seconds)
    assert found is not None
    assert (found.p50, found.p99, found.max, found.mean) == (50, 99, 100, 50.5)
    assert latencies([]) is None


def test_a_run_counts_successes_only_and_names_its_errors() -> None:
    samples = [
        Sample(0.1, batch_size=2),
        Sample(0.3, batch_size=4),
        Sample(9.0, "429 too many"),
        Sample(9.0, "429 too many"),
    ]
    found = summary(Raw(2.0, samples), {"api": 0.004}, 0.002)
    assert (found.succeeded, found.throughput, found.failed) == (2, 1.0, 2)
    assert found.errors == {"429 too many": 2}
    assert found.latency_ms is not None
    assert found.latency_ms.max == 300
    assert found.cpu_ms == {"api": 2.0}
    assert (found.batch_size, found.padding, found.bench_cpu_ms) == (3, None, 1.0)


def test_a_run_without_any_success_has_no_times() -> None:
    found = summary(Raw(1.0, [Sample(1, "gone")]), {"api": 1}, 0)
    assert (found.throughput, found.latency_ms, found.cpu_ms) == (0, None, {})


def test_streams_have_the_first_piece_and_pieces_a_second() -> None:
    found = summary(Raw(2.0, [Sample(1, first=0.1, pieces=6), Sample(1, first=0.3, pieces=4)]), {}, 0)
    assert found.first_ms is not None
    assert (found.first_ms.p50, found.pieces_per_second) == (100, 5)


def test_the_median_is_taken_of_every_figure_by_itself() -> None:
    runs = [
        run(30, 1, cpu_ms={"api": 1}, errors={"a": 1}),
        run(10, 5, cpu_ms={"api": 3}),
        run(20, 9, errors={"a": 2}),
    ]
    found = median(runs)
    assert (found.throughput, found.succeeded, found.errors, found.cpu_ms) == (20, 30, {"a": 3}, {"api": 1})
    assert found.latency_ms is not None
    assert found.latency_ms.p95 == 5


def test_a_ratio_has_the_spread_of_the_repeats() -> None:
    found = comparing.ratio([10, 20, 40], [30, 60, 90])
    assert found is not None
    assert (found.value, found.low, found.high) == (3.0, 0.75, 9.0)
    assert not found.beyond_spread
    assert comparing.ratio([10], [20]) == comparing.Ratio(2.0)
    assert comparing.ratio([], [20]) is comparing.ratio([0], [20]) is None


def test_what_repeating_does_not_explain_is_called_better_or_worse() -> None:
    found = comparing.compare(result(100, 110, 120), result(200, 210, 220))
    assert not found.reasons
    conclusions = {line.figure: line.conclusion for line in found.lines}
    assert conclusions == {
        "throughput /s": "better",
        "p50 ms": "better",
        "p95 ms": "better",
        "p99 ms": "better",
    }
    assert {one.conclusion for one in comparing.compare(result(100, 150), result(140, 160)).lines} == {
        "within the spread"
    }
    assert {one.conclusion for one in comparing.compare(result(100), result(300)).lines} == {"spread unknown"}
    worse = comparing.compare(result(200, 210), result(100, 110)).lines
    assert {one.conclusion for one in worse} == {"worse"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (result(1, experiment={"stream": True}), "stream: False and True"),
        (result(1, inputs="other"), "inputs: they were not the same"),
        (result(1, levels=(9,)), "they have no level in common"),
        (
            result(
                1, where=Where(url="u", platform_version="1", local=True, cores=4, processor="p", python="3")
            ),
            "cores: 2 and 4",
        ),
        (
            result(
                1, where=Where(url="u", platform_version="1", local=True, cores=2, processor="p", python="3")
            ),
            "devices: cpu and none",
        ),
    ],
)
def test_results_that_cannot_be_compared_say_why(other: Result, reason: str) -> None:
    assert reason in comparing.compare(result(1), other).reasons


def test_what_was_changed_on_purpose_is_no_reason() -> None:
    second = result(1, levels=(8, 9), config={"max_batch_size": 8})
    second.where.devices["cpu"] = 2
    second.where.load_average = 1.5
    found = comparing.compare(result(1, complete=False), second)
    assert not found.reasons
    assert found.changed == ["config.max_batch_size: auto → 8", "workers: cpu 1 → cpu 2"]
    assert found.notes[0] == "the first result was interrupted"
    assert "second: this machine was busy (load average 1.5 on 2 cores)" in found.notes[1]
    assert found.notes[2:] == ["only one of them has: 9 in flight"]


def cell(size: Any, *levels: tuple[int, list[tuple[float, float]]]) -> sweep.Cell:
    """(concurrency, [(throughput, p95), …])"""
    made = [
        LevelResult.from_runs([run(*figures) for figures in runs], concurrency=callers)
        for callers, runs in levels
    ]
    return sweep.Cell(max_batch_size=size, config={"max_batch_size": size}, levels=made)


CELLS = [
    cell("auto", (1, [(50, 20), (50, 20)]), (64, [(200, 400), (200, 400)])),
    cell(4, (1, [(51, 19), (49, 21)]), (64, [(180, 100), (180, 100)])),
    cell(64, (1, [(30, 40), (30, 40)]), (64, [(900, 900), (900, 900)])),
]


def test_a_sweep_chooses_over_all_levels() -> None:
    chosen = sweep.choose(CELLS, {"source": "none", "config": {"old": 1}})
    assert {name: goal.max_batch_size for name, goal in chosen.items()} == {
        "latency": 4,
        "balanced": 4,
        "throughput": 64,
    }
    assert chosen["throughput"].version == {"source": "none", "config": {"max_batch_size": 64}}
    assert (chosen["throughput"].at, chosen["throughput"].throughput) == ("64 in flight", 900)
    assert chosen["latency"].at == "1 in flight"


def test_among_sizes_that_noise_cannot_distinguish_auto_wins() -> None:
    noisy = [
        cell(8, (1, [(100, 10), (120, 8)])),
        cell("auto", (1, [(104, 9), (90, 11)])),
        cell(2, (1, [(99, 10), (99, 10)])),
    ]
    assert sweep.choose(noisy, {})["throughput"].max_batch_size == "auto"
    clear = [cell(8, (1, [(200, 10), (220, 8)])), cell("auto", (1, [(104, 9), (90, 11)]))]
    assert sweep.choose(clear, {})["throughput"].max_batch_size == 8


def test_a_size_at_which_nothing_succeeded_is_never_chosen() -> None:
    dead = Run(seconds=1, succeeded=0, errors={"gone": 3}, throughput=0, latency_ms=None, cpu_ms={})
    cells = [
        sweep.Cell(max_batch_size="auto", config={}, levels=[LevelResult.from_runs([dead], concurrency=1)]),
        cell(4, (1, [(5, 5)])),
    ]
    assert {goal.max_batch_size for goal in sweep.choose(cells, {}).values()} == {4}
    assert sweep.choose(cells[:1], {}) == {}


def test_arrivals_have_the_rate_asked_for_and_are_the_same_for_a_seed() -> None:
    due = arrivals(50, Amount(seconds=100), seed=1)
    assert due == arrivals(50, Amount(seconds=100), seed=1)
    assert due != arrivals(50, Amount(seconds=100), seed=2)
    assert 4_500 < len(due) < 5_500
    assert due == sorted(due)
    assert due[-1] < 100
    assert len(arrivals(1000, Amount(count=7), seed=1)) == 7


def test_cpu_is_counted_by_process_and_not_by_pid() -> None:
    before = {"api": {(1, 0.5): 4.0}, "models": {(7, 1.0): 90.0}}
    after = {"api": {(1, 0.5): 5.0, (2, 3.0): 0.25}, "models": {(7, 2.0): 1.5}}
    assert process_cpu.spent(before, after) == {"api": 1.25, "models": 1.5}


def test_a_copy_of_a_version_says_everything_that_a_version_may_say() -> None:
    enum = {"enum": ["a", "b"], "type": "string", "title": "mode", "description": "An enumeration."}
    properties = {
        "mode": {"allOf": [{"$ref": "#/components/schemas/mode"}], "x-order": 1, "default": "a"},
        "text": {"anyOf": [{"type": "string"}], "minLength": 2, "pattern": "x"},
    }
    schemas = {"Input": {"properties": properties, "required": ["text"]}, "mode": enum}
    version = {
        "source": "none",
        "runtime": "echo",
        "task": "",
        "openapi_schema": {"components": {"schemas": schemas}},
    }
    made = versions.version_body(version, {"max_batch_size": 4})
    assert made["config"] == {"max_batch_size": 4}
    wanted = {
        "mode": {"enum": ["a", "b"], "type": "string", "x-order": 1, "default": "a"},
        "text": {"minLength": 2},
    }
    assert made["input_schema"] == {"properties": wanted, "required": ["text"]}
    with pytest.raises(versions.NoCopy, match="owner"):
        versions.version_body({**version, "source": "path:…"}, {})


def test_auto_is_what_is_meant_when_nothing_is_said() -> None:
    assert versions.merge_policy(
        {"joins": True, "max_batch_size": 3}, {"max_batch_size": "auto", "dtype": "auto"}
    ) == {
        "joins": True,
        "dtype": "auto",
    }


def test_answers_are_read_as_the_api_writes_them() -> None:
    assert parsed(201, b'{"id": "a"}') == {"id": "a"}
    for status, body in ((422, b'{"detail": "no such input"}'), (502, b"<html>"), (200, b"[]")):
        with pytest.raises(Refused, match=str(status)):
            parsed(status, body)
    assert parsed_event(b"event: output\nid: 1\ndata: a\ndata: b") == ("output", "a\nb")
    assert parsed_event(b": keep-alive") is None


def test_a_plot_has_a_point_for_each_level(tmp_path: Path) -> None:
    path = tmp_path / "mine.svg"
    levels = result(
        100, 110, levels=(8, 9)
    ).levels  # with the same figures: an axis without length shows nothing
    assert plot.draw(path, "mine", [("", levels)]) == ""
    drawn = path.read_text()
    assert drawn.count("8 in flight") == drawn.count("9 in flight") == 2, "p50 and p95"
    assert "src=" not in drawn, "it asks nobody for anything"
    nothing = Run(seconds=1, succeeded=0, errors={"gone": 3}, throughput=0, latency_ms=None, cpu_ms={})
    assert "nothing succeeded" in plot.draw(
        path, "mine", [("", [LevelResult.from_runs([nothing], concurrency=1)])]
    )


def test_without_the_library_a_sentence_stands_for_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygal", None)
    assert "pip install pygal" in plot.draw(tmp_path / "mine.svg", "mine", [("", result(1).levels)])
    assert not list(tmp_path.iterdir())
