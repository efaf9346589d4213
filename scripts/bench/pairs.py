"""`python -m scripts.bench.pairs`: pairs scored by a cross-encoder, 128 in flight, against the same path in
arrival order.

Randomly initialised, 6 layers, 384 wide; pairs of 16 to 256 tokens drawn evenly, one prediction each,
`Prefer: wait`. Baseline: `runtimes/arrival_runtime.py`, batches of 32 in arrival order, padded to the
longest, by transformers' own encoder. The limit is the model alone in this process, all pairs sorted by
length.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes.base import Alone, Job
from scripts.bench import random_models
from scripts.bench.stage import Line, Stage, cpu, show, stage

PADDING_BAR, TIMES_BAR = 0.10, 2.0
IN_FLIGHT = 128
LEAST, MOST = 16, 256  # tokens of a pair
SPECIAL = 3  # tokens that the model adds
RUNTIMES = Path(__file__).parent / "runtimes"


def pairs(number: int) -> list[dict[str, Any]]:
    """The same ones every time; a word of the list is one token, and three are the model's own."""
    generator, inputs = random.Random(1), []
    for _ in range(number):
        words = generator.choices(random_models.WORDS, k=generator.randint(LEAST, MOST) - SPECIAL)
        query = generator.randint(1, min(12, len(words) - 1))
        inputs.append({"query": " ".join(words[:query]), "texts": [" ".join(words[query:])]})
    return inputs


class Served:
    """One version on the platform."""

    def __init__(self, stage: Stage, version: str) -> None:
        self._stage, self._version = stage, version

    def run(self, inputs: list[dict[str, Any]]) -> tuple[float, float, list[dict[str, Any]]]:
        """(pairs a second, pairs for each second of CPU of the model's process, predictions)."""
        models = self._stage.family.models()
        before = cpu(models)
        seconds, _, predictions = self._stage.predict_all(self._version, inputs, IN_FLIGHT)
        spent = cpu(models) - before
        return len(inputs) / seconds, len(inputs) / spent, predictions


def alone(folder: Path, inputs: list[dict[str, Any]], threads: int) -> float:
    """Pairs a second of the model alone, sorted by length."""
    import torch

    from app.runtimes.encoders.pair_scoring import PairScoring

    torch.set_num_threads(threads)
    runtime = PairScoring.load(
        ModelSpec("alone", "bench/alone", "pair-scoring", path=str(folder), threads=threads)
    )
    jobs = [Job(str(number), values) for number, values in enumerate(inputs)]
    for job in jobs:
        runtime.prepare(job)
    began = time.perf_counter()
    list(runtime.run(jobs, Alone()))
    return len(inputs) / (time.perf_counter() - began)


def waste(predictions: list[dict[str, Any]]) -> float:
    """The share of all cells that hold padding: each prediction's part of its batch's cells, by the batch's
    padding."""
    metrics = [prediction["metrics"] for prediction in predictions]
    tokens = sum(each["input_tokens"] for each in metrics)
    cells: float = sum(each["input_tokens"] / (1 - each["padding"]) for each in metrics)
    return 1 - tokens / cells


def measure(stage: Stage, folder: Path, number: int, runs: int) -> list[Line]:
    """Both in turns."""
    sorting = Served(stage, ours := stage.model("sorted", folder, "pair-scoring"))
    arriving = Served(
        stage, theirs := stage.model("arrival", folder, "arrival-order", max_batch_size=32, fused=False)
    )
    inputs = pairs(number)
    for version in (ours, theirs):
        stage.predict(version, inputs[0])
    times: list[float] = []
    costs: list[float] = []
    rates: list[float] = []
    wastes: list[float] = []
    limits: list[float] = []
    for _ in range(runs):
        rate, cost, predictions = sorting.run(inputs)
        other_rate, other_cost, _ = arriving.run(inputs)
        times.append(rate / other_rate)
        costs.append(cost / other_cost)
        rates.append(rate)
        wastes.append(waste(predictions))
        limits.append(alone(folder, inputs, os.cpu_count() or 1))
    limit = f"in process, all sorted {median(limits):.0f}/s"
    value = f"{median(times):.2f} times ({median(rates):.0f}/s)"
    return [
        Line(f"pairs, {IN_FLIGHT} in flight: padding", f"{median(wastes):.1%}", f"≤ {PADDING_BAR:.0%}"),
        Line("pairs/s of the same path in arrival order", value, f"≥ {TIMES_BAR:.0f} times", limit),
        Line("the same by the CPU time of the models' processes", f"{median(costs):.2f} times", ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.pairs", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--number", type=int, default=600)
    arguments = parser.parse_args()
    with random_models.models_folder() as root:
        folder = random_models.cross_encoder(root / "pairs")
        with stage(MODEL_ROOTS=str(root), RUNTIME_PATHS=str(RUNTIMES)) as platform:
            show(measure(platform, folder, arguments.number, arguments.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
