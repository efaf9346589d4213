"""`python -m scripts.bench.threads`: how many threads and processes a model's texts want on this machine, and
which wait policy.

The same sorted batches of an encoder in processes that share nothing: one of one thread, one of all cores,
and one of one thread for each core; each with the OpenMP threads asleep between two pieces of work, looking
for more as the engine's do, or spinning, on an idle machine and beside one busy process for each core (the
rest of a platform under load). The engine's choice follows from it: cores divided by workers of the machine,
and threads that sleep after half a millisecond.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.engine.fork_client import environment
from scripts.bench.stage import Line, show

BATCH = 16
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
WAITS = {
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "as model processes wait": {name: environment(1)[name] for name in WAITING},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
}


def worker(seconds: float, threads: int) -> None:
    """Runs batches until the time is over, then prints how many texts a second it did."""
    from scripts.bench.texts import InProcess

    alone = InProcess(threads)
    alone.rate_for(1.0, BATCH)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(alone.rate_for(seconds, BATCH)), flush=True)


def measure(processes: int, threads: int, wait: str, seconds: float) -> float:
    """Texts a second of all processes together. They begin at one moment."""
    usual = {name: value for name, value in os.environ.items() if name not in WAITING}
    own = {**usual, **WAITS[wait], "OMP_NUM_THREADS": str(threads)}
    command = [
        sys.executable,
        "-m",
        "scripts.bench.threads",
        "--worker",
        str(threads),
        "--seconds",
        str(seconds),
    ]
    running = [
        subprocess.Popen(
            command,
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for process in running:
            if not process.stdout or process.stdout.readline() != "ready\n":
                raise SystemExit("a measuring process did not start; try it alone: " + " ".join(command))
        for process in running:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(process.communicate()[0]) for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """So many processes that are always busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.threads", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.seconds, arguments.worker)
        return 0
    cores = os.cpu_count() or 1
    shapes = [(1, 1), (1, cores), (cores, 1)]
    lines = []
    for processes, threads in dict.fromkeys(shapes):
        for wait in WAITS if threads > 1 else ("asleep",):  # one thread waits for nobody
            medians = []
            for busy in (0, cores):
                with neighbours(busy):
                    time.sleep(0.2)
                    rates = [
                        measure(processes, threads, wait, arguments.seconds) for _ in range(arguments.runs)
                    ]
                medians.append(statistics.median(rates))
            value = f"{medians[0]:.0f} texts/s; {medians[1]:.0f}/s beside busy neighbours"
            lines.append(Line(f"{processes} x {threads} threads, {wait}", value, ""))
    show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
