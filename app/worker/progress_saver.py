"""Writes that predictions run and what they have produced so far, all of them in one statement now and then;
short runs cost no extra write."""

import threading
import time

import structlog

from app.domain.errors import Unavailable
from app.services.predictions.attempts import ProgressUpdate
from app.services.predictions.lifecycle import Lifecycle
from app.worker.direct_runs import await_opened, is_opened
from app.worker.run import InFlight, Run, Stop, owes_start, take_progress

log = structlog.get_logger(__name__)

# Outputs and logs are written at most this often for one prediction; webhooks for them go out with the
# writes.
SAVE_SECONDS = 0.5
# Between looks. Of a run that lasts so long in its batch it is written that it has begun.
LOOK_SECONDS = 0.25


class ProgressSaver:
    """A thread of its own."""

    def __init__(self, lifecycle: Lifecycle, in_flight: InFlight) -> None:
        self._lifecycle, self._in_flight = lifecycle, in_flight
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def hurry(self) -> None:
        """The next look is now."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self._save_all(time.monotonic())
            except Exception:  # the next look writes it
                log.exception("progress_not_saved")

    def _save_all(self, now: float) -> None:
        due = [run for run in self._in_flight.list_all() if is_due(run, now) and is_opened(run.listener)]
        pairs = [(run, update) for run in due if (update := take_progress(run))]
        if not pairs:
            return
        try:
            ours = self._lifecycle.save_progress([update for _, update in pairs])
        except Unavailable:  # the end writes everything
            return
        for (run, update), is_ours in zip(pairs, ours, strict=True):
            run.begun_written = run.begun_written or (update.begun and is_ours)
            if not is_ours and run.ending is None:
                log.info("no_longer_ours", **run.prediction.log_names)
                run.stop(Stop.DROP)

    def is_ours(self, run: Run) -> bool:
        """Asked before anything is stored: a worker that slept past its lease leaves no files behind."""
        await_opened(run.listener)
        try:
            [is_ours] = self._lifecycle.save_progress([ProgressUpdate(*run.fence)])
        except Unavailable:  # nobody else can have it then
            return True
        if not is_ours:
            log.info("no_longer_ours", **run.prediction.log_names)
        return is_ours


def is_due(run: Run, now: float) -> bool:
    """Whether it is to be written that it has begun, or what has changed."""
    if run.in_batch and not run.begun_written and (now - run.batch_at >= LOOK_SECONDS or owes_start(run)):
        return True
    return bool(run.changed) and now - max(run.began, run.saved_at) >= SAVE_SECONDS
