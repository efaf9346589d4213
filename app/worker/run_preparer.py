"""The slow way of a run to the engine: its version is looked up, the version's files and the input's come
here.

Nothing waits on a thread for a download; fetches of inputs take turns between users, and long inputs wait
until there is memory for them. Stopping the run ends every wait. Knows no engine.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from app.domain.file_inputs import names_files
from app.worker.input_budget import InputBudget
from app.worker.preparation import Preparation, ReadyVersion
from app.worker.run import Run
from app.worker.runner_threads import RunnerThreads

Step = Callable[[Run], None]
# Runs a step of a run, and sees to whatever goes wrong in it.
Guard = Callable[[Run, Step], None]
OnReady = Callable[[Run, ReadyVersion, dict[str, Any]], None]


class RunPreparer:
    """`begin` is a run's first step; `folder_of` its files; `on_ready` gets the input with its files as local
    paths."""

    def __init__(
        self,
        preparation: Preparation,
        threads: RunnerThreads,
        guard: Guard,
        folder_of: Callable[[Run], Path],
        on_ready: OnReady,
        begin: Step,
    ) -> None:
        self._preparation, self._threads = preparation, threads
        self._guard, self._folder_of = guard, folder_of
        self._on_ready, self._begin = on_ready, begin
        self._budget = InputBudget()

    def prepare(self, run: Run) -> None:
        """Returns at once."""
        self._threads.look_ups.submit(self._guard, run, self._look_up)

    def _look_up(self, run: Run) -> None:
        self._begin(run)
        run.wait_for(self._preparation.fetch(run.prediction.version_id, run.log), self._on_version)

    def _on_version(self, run: Run, ready: "Future[ReadyVersion]") -> None:
        """Called on whichever thread had the version's files at last, or canceled the wait for them."""
        self._guard(run, lambda run: self._await_inputs(run, ready.result()))

    def _await_inputs(self, run: Run, version: ReadyVersion) -> None:
        prediction = run.prediction
        if not prediction.not_here and not names_files(version.file_inputs, prediction.input or {}):
            self._on_ready(run, version, prediction.input or {})
            return
        if not prediction.not_here:
            self._await_fetch(version, run)
            return
        capacity = self._budget.hold(run.fence, prediction.user_id, prediction.input_bytes or 0)
        run.wait_for(capacity, partial(self._on_capacity, version))

    def _on_capacity(self, version: ReadyVersion, run: Run, capacity: "Future[None]") -> None:
        def await_fetch(run: Run) -> None:
            capacity.result()
            self._await_fetch(version, run)

        self._guard(run, await_fetch)

    def _await_fetch(self, version: ReadyVersion, run: Run) -> None:
        fetch = partial(self._guard, run, partial(self._fetch_inputs, version))
        run.wait_for(self._threads.fetches.submit(run.prediction.user_id, fetch), self._on_fetched)

    def release(self, run: Run) -> None:
        """A run with a long input has ended."""
        self._budget.release(run.fence)

    def _fetch_inputs(self, version: ReadyVersion, run: Run) -> None:
        values = self._preparation.whole_input(run.prediction)
        if names_files(version.file_inputs, values):
            run.folder = self._folder_of(run)
            is_canceled = lambda: run.stopped is not None  # noqa: E731
            values = self._preparation.localize(version, values, run.folder, is_canceled)
        self._on_ready(run, version, values)

    def _on_fetched(self, run: Run, fetched: "Future[None]") -> None:
        if fetched.cancelled():  # while it waited for its turn
            self._guard(run, lambda _: fetched.result())
