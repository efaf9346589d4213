"""`python -m scripts.bench.texts`: single texts through the whole durable path, as a share of the best
in-process figure.

2,000 texts of log-normal length (median 24 tokens, 5 to 250), one prediction each, `Prefer: wait`. The
in-process figure is the same model on the same number of threads, all texts sorted by length, fp32, at the
best batch size; it is measured before and after each run of the path, in this process, while the platform is
idle.
"""

import argparse
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from app.runtimes.demo import demo_minilm_folder
from scripts.bench.random_models import WORDS
from scripts.bench.stage import Line, Stage, show, stage

NUMBER = 2_000
LEAST, MOST = 5, 250  # tokens
MEDIAN, SPREAD = 24, 0.8  # log-normal
BATCHES = (8, 16, 32, 64)
# The bar of (dtype, predictions in flight), as a share.
BARS = {("float32", 128): 0.66, ("float32", 512): 0.75, ("auto", 128): 1.2}
ALONE = 100


def texts() -> list[str]:
    """The same ones every time. A word of this list is one token."""
    generator = random.Random(1)
    lengths = [
        min(MOST, max(LEAST, round(generator.lognormvariate(math.log(MEDIAN), SPREAD)))) - 2
        for _ in range(NUMBER)
    ]
    return [" ".join(generator.choice(WORDS) for _ in range(length)) for length in lengths]


class InProcess:
    """The model alone: tokenised before the clock starts, sorted by length."""

    def __init__(self, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = demo_minilm_folder()
        torch.set_num_threads(threads)
        self._torch, self._net = torch, AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self._rows = sorted(tokenizer(texts(), truncation=True, max_length=256)["input_ids"], key=len)

    def rate(self, batch: int) -> float:
        """Texts a second, all of them once."""
        began = time.perf_counter()
        for at in range(0, len(self._rows), batch):
            self._run(self._rows[at : at + batch])
        return len(self._rows) / (time.perf_counter() - began)

    def rate_for(self, seconds: float, batch: int) -> float:
        """Texts a second of random batches of neighbours, for about so long."""
        generator, done = random.Random(2), 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            at = generator.randrange(len(self._rows) - batch)
            self._run(self._rows[at : at + batch])
            done += batch
        return done / (time.perf_counter() - began)

    def _run(self, part: list[list[int]]) -> None:
        torch, width = self._torch, max(map(len, part))
        with torch.inference_mode():
            ids = torch.tensor([row + [0] * (width - len(row)) for row in part])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part])
            hidden = self._net(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            torch.nn.functional.normalize(pooled, dim=1).tolist()

    def time_single(self) -> list[float]:
        """Seconds of single texts, a hundred of them in random order: what one prediction at a time costs the
        model."""
        rows = random.Random(3).sample(self._rows, ALONE)
        return [_timed(partial(self._run, [row])) for row in rows]


class Served:
    """Versions of the encoder in fp32 and as `dtype: auto` chooses, on a platform."""

    def __init__(self, stage: Stage) -> None:
        self.stage, folder = stage, demo_minilm_folder()
        if folder is None:
            raise SystemExit("the demo model all-MiniLM-L6-v2 is not here")
        self.versions = {
            dtype: stage.model(f"minilm-{dtype}", folder, "embedding", dtype=dtype)
            for dtype in ("float32", "auto")
        }
        for version in self.versions.values():
            stage.predict(version, {"text": "x"})

    def rate(self, dtype: str, connections: int) -> tuple[float, list[dict[str, Any]]]:
        """Texts a second, and the predictions."""
        seconds, _, predictions = self.run(dtype, texts(), connections)
        return len(predictions) / seconds, predictions

    def time_single(self, dtype: str) -> list[float]:
        """Seconds of single predictions, one after the other, of the same texts as `InProcess.time_single`
        draws."""
        rows = sorted(texts(), key=len)
        return self.run(dtype, random.Random(3).sample(rows, ALONE), 1)[1]

    def run(
        self, dtype: str, inputs: list[str], connections: int
    ) -> tuple[float, list[float], list[dict[str, Any]]]:
        """As `Stage.predict_all`."""
        return self.stage.predict_all(self.versions[dtype], [{"text": text} for text in inputs], connections)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def mean(predictions: list[dict[str, Any]], metric: str) -> float:
    return float(statistics.mean(each["metrics"][metric] for each in predictions))


def share(path: Served, alone: InProcess, dtype: str, connections: int, best: int, runs: int) -> Line:
    """One row: the path's rate over that of the model alone, measured before and after each run."""
    bar = BARS[dtype, connections]
    shares, rates, limits = [], [], []
    predictions: list[dict[str, Any]] = []
    for _ in range(runs):
        before = alone.rate(best)
        rate, predictions = path.rate(dtype, connections)
        limits.append(statistics.mean((before, alone.rate(best))))
        rates.append(rate)
        shares.append(rate / limits[-1])
    batch = f"batch {mean(predictions, 'batch_size'):.0f}, padding {mean(predictions, 'padding'):.0%}"
    value = f"{statistics.median(shares):.2f} ({statistics.median(rates):.0f}/s, {batch})"
    limit = f"{statistics.median(limits):.0f}/s, fp32, sorted by {best}"
    return Line(f"texts, {dtype}, {connections} in flight: share", value, f"≥ {bar}", limit)


def lone(path: Served, alone: InProcess, runs: int) -> Line:
    """One text in flight: the medians of the runs' medians, the model's measured after each run of the
    path."""
    path.time_single("float32")
    pairs = [
        [statistics.median(times) * 1000 for times in (path.time_single("float32"), alone.time_single())]
        for _ in range(runs)
    ]
    ours, model = (statistics.median(medians) for medians in zip(*pairs, strict=True))
    value = f"{ours:.1f} ms, {ours - model:.1f} above"
    return Line("texts, fp32, one in flight: p50", value, "≤ 6 ms above the model", f"{model:.1f} ms")


def measure(runs: int, dtypes: tuple[str, ...] = ("float32", "auto")) -> list[Line]:
    """The rows of the table."""
    with stage() as here:
        path, alone = Served(here), InProcess(os.cpu_count() or 1)
        best = max(BATCHES, key=alone.rate)
        lines = [share(path, alone, dtype, many, best, runs) for dtype, many in BARS if dtype in dtypes]
        if "float32" in dtypes:
            lines.append(lone(path, alone, runs))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.texts", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "auto"), help="only this one")
    arguments = parser.parse_args()
    show(measure(arguments.runs, (arguments.dtype,) if arguments.dtype else ("float32", "auto")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
