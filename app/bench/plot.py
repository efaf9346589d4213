"""A result as a picture: throughput and latency at every level, as SVG. pygal draws it, and where it is not
installed there is no picture and a sentence that says so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.bench.results import LevelResult

MISSING = "no plot was drawn: pygal is not installed (pip install pygal)"
WIDTH, HEIGHT = 900, 520


def draw(path: Path, title: str, lines: Sequence[tuple[str, Sequence[LevelResult]]]) -> str:
    """Writes the picture; returns "" or a sentence that says why there is none. One point a level: throughput
    across, latency (median and 95th percentile, milliseconds, logarithmic) upwards; a line for each of
    `lines` (name, levels).
    """
    try:
        import pygal
        from pygal.style import CleanStyle
    except ImportError:
        return MISSING
    rates, heights = _values(lines)
    if not rates:
        return "no plot was drawn: nothing succeeded"
    chart = pygal.XY(
        width=WIDTH,
        height=HEIGHT,
        title=title,
        x_title="predictions a second",
        y_title="milliseconds",
        logarithmic=True,
        style=CleanStyle(font_family="sans-serif"),
        legend_at_bottom=True,
        js=(),
        truncate_legend=-1,
    )
    # Bounds of its own: where all values are one, pygal's logarithmic axis has no length and shows nothing.
    chart.xrange, chart.range = _around(rates), _around(heights)
    for name, levels in lines:
        for percentile in ("p50", "p95"):
            chart.add(f"{name} {percentile}".strip(), _points(levels, percentile))
    try:
        path.write_bytes(chart.render())
    except OSError as error:
        return f"no plot was drawn: {path}: {error.strerror}"
    return ""


def _points(levels: Sequence[LevelResult], percentile: str) -> list[dict[str, Any]]:
    return [
        {
            "value": (level.median.throughput, getattr(level.median.latency_ms, percentile)),
            "label": level.name,
        }
        for level in levels
        if level.median.latency_ms
    ]


def _values(lines: Sequence[tuple[str, Sequence[LevelResult]]]) -> tuple[list[float], list[float]]:
    """All values across and upwards."""
    runs = [level.median for _, levels in lines for level in levels]
    rates = [run.throughput for run in runs if run.latency_ms]
    return rates, [
        height for run in runs if run.latency_ms for height in (run.latency_ms.p50, run.latency_ms.p95)
    ]


def _around(values: Sequence[float]) -> tuple[float, float]:
    return max(min(values), 1e-3) / 1.2, max(*values, 1e-3) * 1.2
