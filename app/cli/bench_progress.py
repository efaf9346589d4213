"""A bench's progress: one moving line on a terminal, one line for each finished run anywhere else. Writes to
standard error."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from app.bench.experiment import Experiment
from app.bench.session import Moment
from app.cli import screen


class Progress:
    """Call it with each moment; use it as a context."""

    def __init__(self, experiment: Experiment) -> None:
        console = screen.console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
        )
        self._bar = Bar(*columns, console=console, transient=True) if console.is_terminal else None
        self._console = console
        self._task = self._bar.add_task(experiment.name, total=1, count="") if self._bar else None
        self._now: tuple[str, int] = ("", -1)
        self._began = 0.0

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, moment: Moment) -> None:
        """Shows it."""
        if (moment.level, moment.run) != self._now:
            self._now, self._began = (moment.level, moment.run), time.perf_counter()
        if moment.finished:
            self._finished(moment)
        elif self._bar and self._task is not None:
            self._bar.update(
                self._task, description=_title(moment), completed=self._share(moment), count=_count(moment)
            )
        elif moment.runs == 0:
            print(moment.level, file=sys.stderr, flush=True)

    def _finished(self, moment: Moment) -> None:
        run = moment.finished
        assert run is not None
        p50 = f", p50 {run.latency_ms.p50:.1f} ms" if run.latency_ms else ""
        errors = f", {run.failed} errors" if run.failed else ""
        self._console.print(f"{_title(moment)}: {run.throughput:.1f}/s{p50}{errors}")

    def _share(self, moment: Moment) -> float:
        if moment.total:
            return moment.done / moment.total
        return min(1.0, (time.perf_counter() - self._began) / moment.seconds) if moment.seconds else 0.0


def _title(moment: Moment) -> str:
    if not moment.runs:
        return moment.level
    return f"{moment.level}, " + (f"run {moment.run} of {moment.runs}" if moment.run else "warm-up")


def _count(moment: Moment) -> str:
    return f"{moment.done}" + (f" of {moment.total}" if moment.total else " done")
