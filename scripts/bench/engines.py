"""`python -m scripts.bench.engines`: MiniLM through the whole path at 128 in flight, by what runs it, as a
share of torch in 32 bits in process; and how long a load takes where the choice is kept.

The first TEXTS texts of the bench `texts`, and its model in process, measured before and after each run for
ALONE_SECONDS. All six rows took 12 minutes on two cores while others loaded them; they are not worth reading
then. Each row is printed when it is there, and the table holds those that there are when it is interrupted.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from app.runtimes.demo import demo_minilm_folder
from scripts.bench.stage import Line, Stage, show, stage
from scripts.bench.texts import BATCHES, InProcess, texts

IN_FLIGHT = 128
TEXTS = 1_000
ALONE_SECONDS = 4.0
# Versions, with the least share that they are to have.
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "torch, fp32": ({"engine": "torch", "dtype": "float32"}, ""),
    "openvino, fp32": ({"engine": "openvino", "dtype": "float32"}, ""),
    "torch, bf16": ({"engine": "torch", "dtype": "bfloat16"}, ""),
    "openvino, bf16": ({"engine": "openvino", "dtype": "bfloat16"}, ""),
    "auto, fp32": ({"dtype": "float32"}, "≥ 1.1"),
    "auto": ({}, "≥ 1.9 with bf16; load ≤ 1.2 s"),
}
IDLE_SECONDS = 1.0  # then a version is unloaded, and the next prediction loads it again
LOADS = 3
# From the claim to the model's last answer of a text for a model that is there already.
NO_LOAD_SECONDS = 0.05
PATIENCE = 20.0  # seconds: until it is unloaded, until a heartbeat says what runs it


class Engines:
    """A platform with a version for each configuration, as far as the worker can run it."""

    def __init__(self, on: Stage, names: Sequence[str]) -> None:
        folder = demo_minilm_folder()
        if folder is None:
            raise SystemExit("the demo model all-MiniLM-L6-v2 is not here")
        self._on, self._names = on, list(names)
        self.refused: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        for number, name in enumerate(names):
            config = CONFIGS[name][0]
            version = on.model(f"minilm-{number}", folder, "embedding", keep_alive=IDLE_SECONDS, **config)
            print(f"first load: {name}", file=sys.stderr, flush=True)
            try:
                on.predict(version, {"text": "x"})
                self.versions[name] = version
            except RuntimeError as error:
                self.refused[name] = str(error)

    def rate(self, name: str) -> float:
        """Texts a second."""
        inputs = [{"text": text} for text in texts()[:TEXTS]]
        seconds, _, predictions = self._on.predict_all(self.versions[name], inputs, IN_FLIGHT)
        return len(predictions) / seconds

    def engine(self, name: str) -> str:
        """What runs it, as a heartbeat of the worker said while it was loaded."""
        owner = self._on.client.get("/v1/account").raise_for_status().json()["username"]
        number = self._names.index(name)
        path = f"/v1/models/{owner}/minilm-{number}/versions/{self.versions[name]}"
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if facts := self._on.client.get(path).raise_for_status().json()["facts"].get("cpu"):
                return f"{facts['engine']} {facts['dtype']}"
            time.sleep(0.5)
        return "not told"

    def load_seconds(self, name: str) -> float:
        """Of a load whose choice is kept, with its warm-up: the median."""
        return statistics.median(self._load_again(name) for _ in range(LOADS))

    def _load_again(self, name: str) -> float:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            time.sleep(IDLE_SECONDS * 3)
            load: float = self._on.predict(self.versions[name], {"text": "x"})["metrics"]["load"]
            if load > NO_LOAD_SECONDS:
                return load
        raise RuntimeError(f"{name} was not unloaded for being idle")


def measure(runs: int, names: Sequence[str] = tuple(CONFIGS)) -> Iterator[Line]:
    """The rows of the table, each when it has been measured."""
    with stage() as here:
        engines, alone = Engines(here, names), InProcess(os.cpu_count() or 1)
        best = max(BATCHES, key=partial(alone.rate_for, 1.0))
        for name in names:
            if name in engines.refused:
                yield Line(f"texts, {name}", "not here", CONFIGS[name][1], engines.refused[name][-80:])
            else:
                yield row(engines, alone, name, best, runs)


def row(engines: Engines, alone: InProcess, name: str, best: int, runs: int) -> Line:
    """The medians of so many runs of the path; the limit is the model in process in batches of `best`."""
    load = engines.load_seconds(name)
    shares, limits = [], []
    before = alone.rate_for(ALONE_SECONDS, best)
    for _ in range(runs):
        rate = engines.rate(name)
        after = alone.rate_for(ALONE_SECONDS, best)
        limits.append(statistics.mean((before, after)))
        shares.append(rate / limits[-1])
        before = after
    value = f"{statistics.median(shares):.2f} ({engines.engine(name)}; load {load:.2f} s)"
    limit = f"{statistics.median(limits):.0f}/s, fp32, sorted by {best}"
    return Line(f"texts, {name}, {IN_FLIGHT} in flight: share", value, CONFIGS[name][1], limit)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.engines", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=tuple(CONFIGS), action="append", help="this one; repeatable")
    arguments = parser.parse_args()
    lines: list[Line] = []
    try:
        for line in measure(arguments.runs, arguments.only or tuple(CONFIGS)):
            print(f"{line.what}: {line.value}", file=sys.stderr, flush=True)
            lines.append(line)
    finally:
        show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
