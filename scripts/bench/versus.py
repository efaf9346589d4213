"""`python -m scripts.bench.versus CHECKOUT`: this checkout's platform and another one's, in turns.

Both run at the same time, each with one worker, and one is measured after the other in every round, so that
a machine that gets slower meanwhile is slower for both. The other checkout is served by this environment, so
its requirements must be the same. Figures are medians of the rounds; CPU is that of API, worker and servers,
and for 64 in flight that of each part, too (a worker's model processes are `models`).
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import httpx
import orjson

from app.bench.process_cpu import cpu_seconds, spent, usage
from app.local.platform_state import read_platform
from scripts.bench.http_load import Target, flood
from scripts.bench.path import ECHO, Bench
from scripts.bench.stage import Line, Stage, show
from scripts.bench.texts import Served, texts
from scripts.chaos.faults import Family
from scripts.own_platform import terminable

HERE = Path(__file__).parents[2]
CALL = "from pathlib import Path; from scripts import own_platform; own_platform.{}"
CONNECTIONS = 128  # for texts
ALWAYS = 200  # single predictions, one after the other, of a round


@contextmanager
def platform_of(checkout: Path) -> Iterator[Stage]:
    """The platform of a checkout, ended and removed afterwards."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory(prefix="lovage-versus-", ignore_cleanup_errors=True) as name:
        folder = Path(name)

        def call(what: str) -> None:
            subprocess.run([sys.executable, "-c", CALL.format(what)], cwd=checkout, env=env, check=True)

        try:
            call(f"start(Path({name!r}), devices=('cpu',))")
            platform = read_platform(folder)
            if platform is None:
                raise SystemExit(f"the platform of {checkout} did not start")
            key = Path(platform.key_file).read_text().strip()
            target = Target(int(platform.api_url.rpartition(":")[2]), {"Authorization": f"Bearer {key}"})
            with httpx.Client(
                base_url=platform.api_url, headers=target.headers, timeout=300, trust_env=False
            ) as client:
                yield Stage(platform, Family(platform), target, client)
        finally:
            call(f"stop(Path({name!r}))")


class Side:
    """One checkout's platform, and its figures by name."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.path, self.texts = stage, Bench(stage, 1), Served(stage)
        self.figures: defaultdict[str, list[float]] = defaultdict(list)

    def round(self, number: int) -> None:
        """Everything once."""
        self.figures["idle, Prefer: wait: p50, ms"].append(self._alone([ECHO] * ALWAYS) * 1000)
        self.figures["flood: CPU of one, ms"].append(self._flood(number))
        cpu, rate = self._closed(number)
        self.figures["64 in flight: CPU of one, ms"].append(cpu)
        self.figures["64 in flight: predictions/s"].append(rate)
        for dtype in ("float32", "auto"):
            seconds, _, predictions = self.texts.run(dtype, texts()[:number], CONNECTIONS)
            self.figures[f"texts, {dtype}, {CONNECTIONS} in flight: /s"].append(len(predictions) / seconds)
        self.figures["texts, float32, one in flight: p50, ms"].append(
            median(self.texts.time_single("float32")) * 1000
        )

    def _alone(self, bodies: list[dict[str, object]]) -> float:
        target = self.stage.target
        requests = [target.request("POST", "/v1/predictions", body, Prefer="wait=30") for body in bodies]
        return median(asyncio.run(flood(target, requests, 1, 201))[1])

    def _flood(self, number: int) -> float:
        before = cpu_seconds(self.path.processes())
        requests = [self.stage.target.request("POST", "/v1/predictions", ECHO)] * number
        _, _, bodies = asyncio.run(flood(self.stage.target, requests, 64, 201))
        self.path.wait_for([orjson.loads(body)["id"] for body in bodies])
        return (cpu_seconds(self.path.processes()) - before) / number * 1000

    def _closed(self, number: int) -> tuple[float, float]:
        before, parts = cpu_seconds(self.path.processes()), usage(self.path.platform.pid)
        waiting = [self.stage.target.request("POST", "/v1/predictions", ECHO, Prefer="wait=30")] * number
        seconds, _, _ = asyncio.run(flood(self.stage.target, waiting, 64, 201))
        for part, used in spent(parts, usage(self.path.platform.pid)).items():
            self.figures[f"64 in flight: CPU of {part}, ms"].append(used / number * 1000)
        return (cpu_seconds(self.path.processes()) - before) / number * 1000, number / seconds


def measure(other: Path, rounds: int, number: int) -> list[Line]:
    """A line a figure: this checkout's median, the other's, and the ratio of the two."""
    with terminable(), ExitStack() as stack:
        ours = Side(stack.enter_context(platform_of(HERE)))
        theirs = Side(stack.enter_context(platform_of(other)))
        for turn in range(rounds + 1):
            for side in (ours, theirs) if turn % 2 else (theirs, ours):
                side.round(number)
                if turn == 0:  # both are warm now
                    side.figures.clear()
            print(f"round {turn} of {rounds}", flush=True)
    lines = []
    for name, values in ours.figures.items():
        mine, before = median(values), median(theirs.figures[name])
        ratios = [new / old for new, old in zip(values, theirs.figures[name], strict=True) if old]
        pairs = f"{median(ratios):.3f} times, pair by pair" if ratios else "too little to compare"
        lines.append(Line(name, f"{mine:.2f}", f"{before:.2f} (the other)", pairs))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.versus", description=__doc__)
    parser.add_argument("checkout", type=Path, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--number", type=int, default=1000, help="predictions of each load in a round")
    arguments = parser.parse_args()
    show(measure(arguments.checkout.resolve(), arguments.rounds, arguments.number))


if __name__ == "__main__":
    main()
