"""The same experiment over several batch sizes, and which of them is best for what. Choosing is a pure
function.

A version has a batch size but no say in how many callers come, so a batch size is scored over all levels
together: by the geometric mean, over the levels, of its figure as a share of the best at that level. Sizes
that differ by a few percent, or of which each was the better one in some repeat, count as equal, and among
equals the simpler wins: `auto`, then the smaller.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.bench.figures import Run
from app.bench.results import LevelResult, Where, made_now

ALIKE = 0.03  # closer than this counts as equal
DEFAULT_SIZES: tuple[int | str, ...] = ("auto", 1, 4, 16, 64)
GOALS = ("latency", "balanced", "throughput")
Size = int | Literal["auto"]


class Cell(BaseModel):
    """One batch size at all levels."""

    model_config = ConfigDict(extra="forbid")

    max_batch_size: Size
    config: dict[str, Any]
    levels: list[LevelResult]


class Goal(BaseModel):
    """The best policy for a goal. `version` is what `POST /v1/models/{owner}/{name}/versions` takes; `score`
    is 1 for a size that is best at every level; `at`, `throughput` and `p95_ms` are of the level where it
    does best.
    """

    model_config = ConfigDict(extra="forbid")

    max_batch_size: Size
    score: float
    at: str
    throughput: float
    p95_ms: float
    version: dict[str, Any]


class Sweep(BaseModel):
    """A sweep's file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["lovage-sweep/1"] = "lovage-sweep/1"
    made_at: str = Field(default_factory=made_now)
    complete: bool = True
    model: str
    where: Where
    cells: list[Cell] = Field(min_length=1)
    goals: dict[Literal["latency", "balanced", "throughput"], Goal]


def value(run: Run, goal: str) -> float:
    """More is better; nothing when nothing succeeded. Balanced is throughput by latency (Kleinrock's power of
    a queue)."""
    if run.latency_ms is None or not run.throughput:
        return 0.0
    p95 = max(run.latency_ms.p95, 1e-6)
    return {"throughput": run.throughput, "latency": 1 / p95, "balanced": run.throughput / p95}[goal]


def scores(cells: Sequence[Cell], goal: str, pick: Callable[[LevelResult], Run]) -> list[float]:
    """Each cell's, from 0 to 1, over the levels that all cells have; `pick` says which run of a level
    counts."""
    keys = [
        level.key
        for level in cells[0].levels
        if all(level.key in [other.key for other in cell.levels] for cell in cells)
    ]
    tables = [{level.key: value(pick(level), goal) for level in cell.levels} for cell in cells]
    best = {key: max(table[key] for table in tables) for key in keys}
    shares = [[table[key] / best[key] for key in keys if best[key]] for table in tables]
    return [math.prod(row) ** (1 / len(row)) if row else 0.0 for row in shares]


def best(cells: Sequence[Cell], goal: str) -> tuple[Cell, float]:
    """The cell to take for this goal, and its score. `cells` is not empty."""
    medians = scores(cells, goal, lambda level: level.median)
    top = max(range(len(cells)), key=medians.__getitem__)
    repeats = min(len(level.runs) for cell in cells for level in cell.levels)
    by_repeat = [_scores_of_repeat(cells, goal, number) for number in range(repeats)]
    alike = [
        at
        for at, score in enumerate(medians)
        if score >= medians[top] * (1 - ALIKE) or any(repeat[at] > repeat[top] for repeat in by_repeat)
    ]
    chosen = min(alike, key=lambda at: _simplicity(cells[at].max_batch_size))
    return cells[chosen], medians[chosen]


def _scores_of_repeat(cells: Sequence[Cell], goal: str, number: int) -> list[float]:
    return scores(cells, goal, lambda level: level.runs[number])


def _simplicity(size: int | str) -> float:
    return 0.0 if size == "auto" else float(size)


def choose(cells: Sequence[Cell], version: dict[str, Any]) -> dict[str, Goal]:
    """A goal each; `version` is a body for a new version, whose configuration is replaced."""
    chosen = {}
    for goal in GOALS:
        cell, score = best(cells, goal)
        level = max(cell.levels, key=lambda level: value(level.median, goal))
        run = level.median
        if run.latency_ms is None:
            continue  # nothing succeeded
        chosen[goal] = Goal(
            max_batch_size=cell.max_batch_size,
            score=round(score, 4),
            at=level.name,
            throughput=run.throughput,
            p95_ms=run.latency_ms.p95,
            version={**version, "config": cell.config},
        )
    return chosen
