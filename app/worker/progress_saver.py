"""Writes what running predictions have produced so far, all of them in one statement now and then; short runs
cost no extra write."""

import threading
import time
from collections.abc import Sequence

import structlog

from app.domain.errors import Unavailable
from app.services.predictions.attempts import ProgressUpdate
from app.services.predictions.lifecycle import Lifecycle
from app.worker.direct_runs import await_opened, is_opened
from app.worker.run import InFlight, Run, Stop

log = structlog.get_logger(__name__)

# Outputs and logs are written at most this often for one prediction; webhooks for them go out with the
# writes.
SAVE_SECONDS = 0.5


class ProgressSaver:
    """A thread of its own."""

    def __init__(self, lifecycle: Lifecycle, in_flight: InFlight) -> None:
        self._lifecycle, self._in_flight = lifecycle, in_flight
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(SAVE_SECONDS):
            try:
                self._save_all(time.monotonic() - SAVE_SECONDS)
            except Exception:  # the next look writes it
                log.exception("progress_not_saved")

    def _save_all(self, begun_before: float) -> None:
        due = [
            run
            for run in self._in_flight.list_all()
            if run.began < begun_before and run.changed and is_opened(run.listener)
        ]
        pairs = [(run, update) for run in due if (update := run.progress_update())]
        if not pairs:
            return
        ours = self.save([update for _, update in pairs])
        for (run, _), is_ours in zip(pairs, ours, strict=True):
            if not is_ours and run.ending is None:
                log.info("no_longer_ours", **run.prediction.log_names)
                run.stop(Stop.DROP)

    def is_ours(self, run: Run) -> bool:
        """Asked before anything is stored: a worker that slept past its lease leaves no files behind."""
        await_opened(run.listener)
        is_ours = self.save([ProgressUpdate(*run.fence)])[0]
        if not is_ours:
            log.info("no_longer_ours", **run.prediction.log_names)
        return is_ours

    def save(self, updates: Sequence[ProgressUpdate]) -> list[bool]:
        """False for each that is no longer ours. A database that is away changes nothing: the end writes
        everything."""
        try:
            return self._lifecycle.save_progress(updates)
        except Unavailable:
            return [True] * len(updates)
