"""Measures what batches cost on this device, once for each version and device, and keeps the answer in a
folder.

The model process does it after loading, by the runtime's own `probe` inputs, within half a second. The fit is
pure. Knows no engine and no queue.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from app.domain import version_settings
from app.domain.work import ModelSpec
from app.engine.batch_policy import CostModel, Limits
from app.runtimes.base import Alone, Job, Runtime

# Rows and lengths that tell the parts of the cost apart; cheapest first. MiniLM on one busy core: 18 ms to
# 600 ms each.
SHAPES = ((1, 16), (1, 64), (8, 16), (1, 256), (8, 64), (32, 16), (32, 64), (8, 256), (32, 256))
# A second model of 90 MB is to be ready within 1.5 s; loading it takes 0.4 s.
BUDGET_SECONDS = 0.5
BUSY_TIMES = 4
# A shape is run until it has taken so long, at least once, and its quickest run counts: a first one may
# compile kernels, and whatever else the machine does only adds.
SAMPLE_SECONDS = 0.05
# Fewer samples than this say nothing about four coefficients.
MIN_SAMPLES = 4

# `max_batch_size: auto` on a fast device: nobody should wait longer than this for the batch before.
QUICK_SECONDS = 0.1
USUAL_LENGTH = 64
LEAST_ROWS, MOST_ROWS = 64, 512

# Rows, real length (tokens), seconds.
Sample = tuple[int, int, float]


def load_or_measure(runtime: Runtime, model: ModelSpec, folder: str) -> CostModel | None:
    """The cost model kept in the folder ("": none is kept), or a measured one; None when the runtime has no
    probe inputs or they fail."""
    if getattr(runtime, "probe", None) is None:
        return None
    facts = runtime.facts()
    engine = f"{facts.get('engine', '')} {facts.get('dtype', '')}"
    file = Path(folder) / file_name(model, engine, unpadded=runtime.unpadded) if folder else None
    if file and (kept := _read(file)):
        return kept
    samples = measure(runtime)
    if len(samples) < MIN_SAMPLES:
        return None
    cost_model = fit(samples)
    if file:
        _write(file, cost_model, samples)
    return cost_model


def measure(runtime: Runtime, budget: float = BUDGET_SECONDS) -> list[Sample]:
    """As many shapes as fit into the budget (seconds); one that would not fit is left out. On a busy machine,
    where not even the fewest fit, it takes up to BUSY_TIMES as long."""
    samples: list[Sample] = []
    until = time.monotonic() + budget
    at_last = until + (BUSY_TIMES - 1) * budget
    for rows, length in SHAPES:
        if len(samples) >= MIN_SAMPLES and estimate(samples, rows, length) > until - time.monotonic():
            continue
        sample = _run_shape(runtime, rows, length)
        if sample is None:
            break
        samples.append(sample)
        if time.monotonic() > (until if len(samples) >= MIN_SAMPLES else at_last):
            break
    return samples


def estimate(samples: Sequence[Sample], rows: int, length: int) -> float:
    """Seconds, by the cells of the largest shape measured so far."""
    measured_rows, measured_length, seconds = max(samples, key=lambda sample: sample[0] * sample[1])
    return seconds * rows * length / (measured_rows * measured_length)


def _run_shape(runtime: Runtime, rows: int, length: int) -> Sample | None:
    try:
        jobs = [_probe_job(runtime, number, length) for number in range(rows)]
        batch = [job for job in jobs if job is not None]
        if len(batch) < rows:
            return None
        return rows, max(job.length for job in batch), _quickest_run(runtime, batch)
    except Exception as error:  # noqa: BLE001 - a model that cannot be measured can still be run
        print(f"measuring {rows} x {length} failed: {error}")
        return None


def _quickest_run(runtime: Runtime, batch: Sequence[Job]) -> float:
    quickest, spent = float("inf"), 0.0
    while spent < SAMPLE_SECONDS:
        began = time.perf_counter()
        for _ in runtime.run(batch, Alone()):
            pass
        seconds = time.perf_counter() - began
        quickest, spent = min(quickest, seconds), spent + seconds
    return quickest


def _probe_job(runtime: Any, number: int, length: int) -> Job | None:
    values = runtime.probe(length)
    if values is None:
        return None
    job = Job(id=f"probe-{number}", input=values)
    runtime.prepare(job)
    return job


def fit(samples: Sequence[Sample]) -> CostModel:
    """The non-negative coefficients with the least sum of squared relative errors.

    There are four of them, so every subset is tried.
    """
    equations = [(1.0 / s, r / s, r * n / s, r * n * n / s) for r, n, s in samples]
    best, least = CostModel(), float("inf")
    for count in range(1, 5):
        for columns in combinations(range(4), count):
            rows = [[equation[column] for column in columns] for equation in equations]
            solution = _solve(rows)
            if solution is None or min(solution) < 0:
                continue
            error = _squared_error(rows, solution)
            if error < least - 1e-12:
                best, least = _cost_model(columns, solution), error
    return best


def _squared_error(rows: Sequence[Sequence[float]], solution: Sequence[float]) -> float:
    """Of `row · solution = 1`, summed up."""
    return sum((sum(a * x for a, x in zip(row, solution, strict=True)) - 1.0) ** 2 for row in rows)


def _cost_model(columns: Sequence[int], solution: Sequence[float]) -> CostModel:
    """Coefficients that are not among the columns are 0."""
    by_column = dict(zip(columns, solution, strict=True))
    return CostModel(*(by_column.get(column, 0.0) for column in range(4)))


def _solve(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Least squares for `row · x = 1` by the normal equations; None when they are singular."""
    size = len(rows[0])
    square = [[sum(row[i] * row[j] for row in rows) for j in range(size)] for i in range(size)]
    matrix = [[*square[i], sum(row[i] for row in rows)] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(matrix[i][column]))
        if abs(matrix[pivot][column]) < 1e-12:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for i in range(size):
            if i != column:
                factor = matrix[i][column] / matrix[column][column]
                matrix[i] = [a - factor * b for a, b in zip(matrix[i], matrix[column], strict=True)]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]


def auto_limits(cost_model: CostModel, usual: Limits, config: Mapping[str, Any]) -> Limits:
    """What `auto` means once the cost is known: many rows, and as many cells as so many rows of a usual
    length have. So short texts share what a pass costs by itself, and long ones do not make everybody wait.
    """
    if version_settings.number_of(config, "max_batch_size") is not None:
        return usual
    size = LEAST_ROWS
    while size * 2 <= MOST_ROWS and cost_model.batch_cost(size * 2, USUAL_LENGTH) <= QUICK_SECONDS:
        size *= 2
    if version_settings.number_of(config, "max_batch_tokens") is not None:
        return Limits(size, usual.tokens)
    return Limits(size, size * USUAL_LENGTH)


def file_name(model: ModelSpec, engine: str = "", *, unpadded: bool = False) -> str:
    """One file for each version, device, kind of machine and number of threads, for what runs it, and for
    whether its rows are padded."""
    parts = (
        model.version,
        model.device,
        str(model.threads),
        str(os.cpu_count()),
        os.uname().machine,
        engine,
        str(unpadded),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32] + ".json"


def _read(file: Path) -> CostModel | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return CostModel(**json.loads(file.read_text())["cost_model"])
    return None


def _write(file: Path, cost_model: CostModel, samples: Sequence[Sample]) -> None:
    """A half-written file must not be read by the next process."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"cost_model": asdict(cost_model), "samples": samples}))
        part.replace(file)
