"""Results as tables for people. Knows rich, nothing of how a figure came to be."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from app.bench.compare import Line
from app.bench.figures import Latencies, Run
from app.bench.results import LevelResult, Result
from app.bench.sweep import Sweep


def result_table(result: Result) -> Table:
    """The medians of every level; in brackets the least and the greatest of the repeats."""
    streams = any(level.median.first_ms for level in result.levels)
    experiment = result.experiment
    runs = max((len(level.runs) for level in result.levels), default=0)
    title = (
        f"{experiment.name}: {experiment.model}, medians of {runs} run{'s' if runs > 1 else ''}; times in ms"
    )
    table = Table("load", "per second", "p50", "p90", "p95", "p99", title=title, title_justify="left")
    for name in ("first p50", "first p95", "pieces/s") if streams else ("batch", "padding"):
        table.add_column(name)
    for name in ("CPU of one", "errors"):
        table.add_column(name)
    for level in result.levels:
        run = level.median
        kind = _stream(run) if streams else _batch(run)
        cpu = "" if run.cpu_total_ms is None else f"{run.cpu_total_ms:.2f}"
        table.add_row(
            level.name, _with_range(level), *_latencies(run.latency_ms), *kind, cpu, str(run.failed or "")
        )
    return table


def cpu_table(levels: Sequence[LevelResult]) -> Table | None:
    """CPU milliseconds of one prediction, by part of the platform; None when they are not known."""
    parts = sorted({part for level in levels for part in level.median.cpu_ms})
    if not parts:
        return None
    title = "CPU milliseconds of one prediction; bench is this program's own and not in the sum"
    table = Table("load", *parts, "sum", "bench", title=title, title_justify="left")
    for level in levels:
        run = level.median
        cells = [f"{run.cpu_ms.get(part, 0.0):.2f}" for part in parts]
        table.add_row(level.name, *cells, f"{run.cpu_total_ms or 0.0:.2f}", f"{run.bench_cpu_ms or 0.0:.2f}")
    return table


def error_lines(levels: Sequence[LevelResult]) -> list[str]:
    """What went wrong and how often, the most frequent first."""
    return [
        f"{level.name}: {count} × {error}"
        for level in levels
        for error, count in list(level.median.errors.items())[:3]
    ]


def comparison_table(lines: Sequence[Line]) -> Table:
    """Ratios, the second by the first."""
    table = Table("load", "figure", "first", "second", "ratio", "spread", "")
    colours = {"better": "green", "worse": "red"}
    for line in lines:
        low, high = line.ratio.low, line.ratio.high
        spread = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        colour = colours.get(line.conclusion, "dim")
        table.add_row(
            line.level,
            line.figure,
            _number(line.first),
            _number(line.second),
            f"{line.ratio.value:.2f}",
            spread,
            Text(line.conclusion, style=colour),
        )
    return table


def sweep_tables(sweep: Sweep) -> tuple[Table, Table]:
    """Every cell, and the choice for each goal."""
    levels = list(dict.fromkeys(level.name for cell in sweep.cells for level in cell.levels))
    cells = Table(
        "max_batch_size", *levels, title=f"{sweep.model}: predictions a second / p95 ms", title_justify="left"
    )
    for cell in sweep.cells:
        by_name = {level.name: level.median for level in cell.levels}
        cells.add_row(str(cell.max_batch_size), *(_cell(by_name.get(name)) for name in levels))
    goals = Table("goal", "max_batch_size", "does best at", "per second", "p95 ms", "of the best")
    for name, goal in sweep.goals.items():
        goals.add_row(
            name,
            str(goal.max_batch_size),
            goal.at,
            f"{goal.throughput:.0f}",
            _number(goal.p95_ms),
            f"{goal.score:.0%}",
        )
    return cells, goals


def _cell(run: Run | None) -> str:
    if run is None or run.latency_ms is None:
        return ""
    return f"{_number(run.throughput)} / {_number(run.latency_ms.p95)}"


def _with_range(level: LevelResult) -> str:
    rates = [run.throughput for run in level.runs]
    return _number(level.median.throughput) + (
        f" ({_number(min(rates))}–{_number(max(rates))})" if len(rates) > 1 else ""
    )


def _latencies(latencies: Latencies | None) -> list[str]:
    return [_number(getattr(latencies, name)) if latencies else "" for name in ("p50", "p90", "p95", "p99")]


def _stream(run: Run) -> list[str]:
    first = [_number(run.first_ms.p50), _number(run.first_ms.p95)] if run.first_ms else ["", ""]
    return [*first, "" if run.pieces_per_second is None else _number(run.pieces_per_second)]


def _batch(run: Run) -> list[str]:
    return [
        "" if run.batch_size is None else f"{run.batch_size:.1f}",
        "" if run.padding is None else f"{run.padding:.0%}",
    ]


def _number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
