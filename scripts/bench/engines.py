"""`python -m scripts.bench.engines`: MiniLM through the whole path at 128 in flight, by what runs it, as a
share of torch in 32 bits in process; and how long a load takes where the choice is kept.

The texts and the figure in process are those of the bench `texts`, measured before and after each run.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

from app.runtimes.demo import demo_minilm_folder
from scripts.bench.stage import Line, Stage, show, stage
from scripts.bench.texts import BATCHES, InProcess, texts

IN_FLIGHT = 128
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


class Engines:
    """A platform with a version for each configuration, as far as the worker can run it."""

    def __init__(self, on: Stage) -> None:
        folder = demo_minilm_folder()
        if folder is None:
            raise SystemExit("the demo model all-MiniLM-L6-v2 is not here")
        self._on = on
        self.refused: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        for number, (name, (config, _)) in enumerate(CONFIGS.items()):
            version = on.model(f"minilm-{number}", folder, "embedding", keep_alive=IDLE_SECONDS, **config)
            try:
                on.predict(version, {"text": "x"})
                self.versions[name] = version
            except RuntimeError as error:
                self.refused[name] = str(error)

    def rate(self, name: str) -> float:
        """Texts a second."""
        inputs = [{"text": text} for text in texts()]
        seconds, _, predictions = self._on.predict_all(self.versions[name], inputs, IN_FLIGHT)
        return len(predictions) / seconds

    def engine(self, name: str) -> str:
        """What runs it, as the worker says."""
        owner = self._on.client.get("/v1/account").raise_for_status().json()["username"]
        number = list(CONFIGS).index(name)
        path = f"/v1/models/{owner}/minilm-{number}/versions/{self.versions[name]}"
        facts = self._on.client.get(path).raise_for_status().json()["facts"]
        return f"{facts['engine']} {facts['dtype']}"

    def load_seconds(self, name: str) -> float:
        """Of a load whose choice is kept, with its warm-up."""
        time.sleep(IDLE_SECONDS * 3)
        load: float = self._on.predict(self.versions[name], {"text": "x"})["metrics"]["load"]
        if not load:
            raise RuntimeError(f"{name} was not unloaded for being idle")
        return load


def measure(runs: int) -> list[Line]:
    """The rows of the table."""
    with stage() as here:
        engines, alone = Engines(here), InProcess(os.cpu_count() or 1)
        best = max(BATCHES, key=alone.rate)
        lines = []
        for name, (_, bar) in CONFIGS.items():
            if name in engines.refused:
                lines.append(Line(f"texts, {name}", "not here", bar, engines.refused[name][-80:]))
                continue
            load = engines.load_seconds(name)
            shares, limits = [], []
            for _ in range(runs):
                before = alone.rate(best)
                rate = engines.rate(name)
                limits.append(statistics.mean((before, alone.rate(best))))
                shares.append(rate / limits[-1])
            value = f"{statistics.median(shares):.2f} ({engines.engine(name)}; load {load:.2f} s)"
            limit = f"{statistics.median(limits):.0f}/s, fp32, sorted by {best}"
            lines.append(Line(f"texts, {name}, {IN_FLIGHT} in flight: share", value, bar, limit))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.engines", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    show(measure(parser.parse_args().runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
