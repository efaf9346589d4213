"""Runs an experiment: for each level a warm-up and so many runs, their figures collected as they come.

Knows the loads and the figures. Does not know files or terminals; what happens is reported as Moments.
"""

import asyncio
import hashlib
import os
import platform as machine
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import orjson

from app.bench import versions
from app.bench.caller import Caller
from app.bench.connection import Target
from app.bench.experiment import Experiment
from app.bench.figures import Run, summary
from app.bench.load import Amount, OnEnded, Raw, arrivals, closed, open_loop
from app.bench.process_cpu import Usage, spent, usage
from app.bench.results import LevelResult, Result, Where, level_name

LOAD_SECONDS = 600.0  # the first prediction may fetch and load the model
REPORT_SECONDS = 0.1  # between two reports of one run
MOST_WARM_CALLERS = 16  # of an open loop's warm-up
Level = tuple[int | None, float | None]


class Unusable(Exception):
    """The experiment cannot be run on this platform; the text says why."""


@dataclass(frozen=True)
class Moment:
    """Where a session is: `done` of `total` predictions of this run (`total` None: the run has seconds, not a
    count).

    `run` 0 is the warm-up; `finished` holds the figures of a run that has just ended.
    """

    level: str
    run: int
    runs: int
    done: int = 0
    total: int | None = None
    seconds: float | None = None
    finished: Run | None = None


Report = Callable[[Moment], None]


@dataclass(frozen=True)
class Platform:
    """Where predictions go. `call` speaks to the same API for all else; `launcher`: the pid of `lovage up` on
    this machine."""

    target: Target
    call: versions.Call
    launcher: int | None = None


class Session:
    """One experiment on one platform."""

    def __init__(self, platform: Platform, experiment: Experiment, report: Report) -> None:
        self._platform, self._experiment = platform, experiment
        self._report = report
        self._inputs = experiment.inputs.make()
        self._levels: dict[Level, list[Run]] = {}
        self._ready: versions.Ready | None = None
        self._requests: list[bytes] = []
        self._where = _where(platform)

    def run(self) -> Result:
        """All of it. Raises Unusable, NoCopy or CallFailed; after an interruption `result` has what was
        measured until then."""
        with self.opened():
            for number in range(1, self._experiment.repeats + 1):
                self.repeat(number)
        return self.result(complete=True)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Has the version ready. Raises NoCopy or CallFailed."""
        with versions.prepare_version(
            self._platform.call, self._experiment.model, self._experiment.policy()
        ) as ready:
            self._ready = ready
            self._requests = [self._caller().request(ready.id, values) for values in self._inputs]
            yield

    def repeat(self, number: int) -> None:
        """Every level once, so that a machine's slow minute hits them all. Raises Unusable."""
        if number == 1:
            self._report(Moment("the first prediction (it loads the model)", 0, 0, total=1))
        self._predict_once(self._requests[0])
        for level in self._all_levels():
            self._warm_up(level)
            run = self._one_run(level, number)
            self._levels.setdefault(level, []).append(run)

    def result(self, *, complete: bool) -> Result:
        """What was measured so far; call it only when `measured` is true."""
        assert self._ready is not None
        levels = [
            LevelResult.from_runs(runs, concurrency=key[0], rate=key[1]) for key, runs in self._levels.items()
        ]
        digest = hashlib.sha256(orjson.dumps(self._inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return Result(
            complete=complete,
            experiment=self._experiment,
            version=self._ready.id,
            config=self._ready.config,
            inputs=digest,
            where=self._where,
            levels=levels,
        )

    @property
    def measured(self) -> bool:
        """Whether any run has ended."""
        return bool(self._levels)

    def _all_levels(self) -> list[Level]:
        if self._experiment.mode == "open":
            return [(None, rate) for rate in self._experiment.rate]
        return [(callers, None) for callers in self._experiment.callers]

    def _caller(self, timeout: float | None = None) -> Caller:
        return Caller(
            self._platform.target, timeout=timeout or self._experiment.timeout, stream=self._experiment.stream
        )

    def _predict_once(self, request: bytes) -> None:
        """Loads the model; what is wrong with the input or the model is raised here and not counted a
        thousand times."""
        caller = self._caller(LOAD_SECONDS)

        async def once() -> str:
            try:
                return (await caller.predict(request)).error
            finally:
                caller.connection.close()

        if error := asyncio.run(once()):
            raise Unusable(f"the first prediction of {self._experiment.model} did not succeed: {error}")

    def _warm_up(self, level: Level) -> None:
        number = self._experiment.warm_up
        if number:
            callers = min(level[0] or MOST_WARM_CALLERS, number)
            moment = Moment(level_name(*level), 0, self._experiment.repeats, total=number)
            amount, on_ended = Amount(count=number), self._reporter(moment)
            asyncio.run(closed(self._caller, self._requests, callers, amount, on_ended))

    def _one_run(self, level: Level, number: int) -> Run:
        experiment = self._experiment
        moment = Moment(
            level_name(*level),
            number,
            experiment.repeats,
            total=experiment.count,
            seconds=experiment.seconds,
        )
        with _cpu(self._platform.launcher) as cpu:
            raw = asyncio.run(self._load(level, number, self._reporter(moment)))
        run = summary(raw, *cpu())
        self._report(replace(moment, done=len(raw.samples), finished=run))
        return run

    async def _load(self, level: Level, number: int, on_ended: OnEnded) -> Raw:
        amount = Amount(self._experiment.count, self._experiment.seconds)
        callers, rate = level
        if rate is None:
            return await closed(self._caller, self._requests, callers or 1, amount, on_ended)
        due = arrivals(rate, amount, self._experiment.seed + number)
        return await open_loop(self._caller, self._requests, due, on_ended)

    def _reporter(self, moment: Moment) -> OnEnded:
        """Reports at most ten times a second: it costs time that belongs to the load."""
        reported_at = 0.0

        def on_ended(done: int) -> None:
            nonlocal reported_at
            now = time.perf_counter()
            if now - reported_at >= REPORT_SECONDS:
                reported_at = now
                self._report(replace(moment, done=done))

        return on_ended


@contextmanager
def _cpu(launcher: int | None) -> Iterator[Callable[[], tuple[dict[str, float], float]]]:
    """Gives a function for after the block: (CPU seconds of each part, of this process)."""
    before, own = usage(launcher), time.process_time()
    after: list[Usage] = []
    used: list[float] = []
    try:
        yield lambda: (spent(before, after[0]), used[0])
    finally:
        used.append(time.process_time() - own)
        after.append(usage(launcher))


def _where(platform: Platform) -> Where:
    status = platform.call("GET", "/status")
    return Where(
        url=platform.target.url,
        platform_version=str(status.get("version", "")),
        local=platform.launcher is not None,
        cores=os.cpu_count() or 1,
        processor=machine.processor() or machine.machine(),
        python=machine.python_version(),
        devices=status.get("devices") or {},
        load_average=round(os.getloadavg()[0], 2),
    )
