"""Measures an experiment with several batch sizes, in turn within each repeat, so that a machine's slow
minute hits them all.

Knows sessions and versions. Does not know which size is best (`sweep` says that) nor terminals.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from app.bench import versions
from app.bench.experiment import Experiment
from app.bench.session import Moment, Platform, Report, Session
from app.bench.sweep import Cell, Size, Sweep, choose


class SweepSession:
    """One sweep on one platform. `sizes` are different and not empty."""

    def __init__(
        self, platform: Platform, experiment: Experiment, sizes: Sequence[Size], report: Report
    ) -> None:
        self._platform, self._experiment = platform, experiment
        self._report = report
        self._sessions = {size: self._session(size) for size in sizes}
        self._done: set[Size] = set()
        self._version: dict[str, Any] = {}

    def _session(self, size: Size) -> Session:
        def report(moment: Moment) -> None:
            self._report(replace(moment, level=f"batch {size}, {moment.level}"))

        batching = self._experiment.batching.model_copy(update={"max_batch_size": size})
        return Session(self._platform, self._experiment.model_copy(update={"batching": batching}), report)

    def run(self) -> Sweep:
        """All of it. Raises Unusable, NoCopy or CallFailed; after an interruption `result` has what was
        measured until then."""
        with ExitStack() as stack:
            self._version = versions.version_body(
                versions.find(self._platform.call, self._experiment.model), {}
            )
            for session in self._sessions.values():
                stack.enter_context(session.opened())
            for number in range(1, self._experiment.repeats + 1):
                for size, session in self._sessions.items():
                    session.repeat(number)
                    self._done.add(size)
        return self.result(complete=True)

    @property
    def measured(self) -> bool:
        """Whether any size was measured at all levels."""
        return bool(self._done)

    def result(self, *, complete: bool) -> Sweep:
        """The sizes that were measured at all levels, and the best of them; call it only when `measured` is
        true."""
        results = {
            size: session.result(complete=complete)
            for size, session in self._sessions.items()
            if size in self._done
        }
        cells = [
            Cell(max_batch_size=size, config=result.config, levels=result.levels)
            for size, result in results.items()
        ]
        where = next(iter(results.values())).where
        return Sweep(
            complete=complete,
            model=self._experiment.model,
            where=where,
            cells=cells,
            goals=choose(cells, self._version),
        )
