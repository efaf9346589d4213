"""Takes waiting work straight from Postgres when there is room and the bell has not rung for a while (DESIGN, "Steal")."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.domain.errors import Unavailable
from app.worker.recorder import Recorder
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
QUIET_SECONDS = 1.0  # a bell that rings is faster than looking; silence this long makes a look worth it
AT_ONCE = 64


class Stealer:
    """`heard` is called at every doorbell; `stop` waits for nothing."""

    def __init__(self, recorder: Recorder, runner: Runner, queues: list[str], slots: int) -> None:
        self._recorder, self._runner, self._queues, self._slots = recorder, runner, queues, slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="stolen")
        self._heard = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stealer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def heard(self) -> None:
        """A doorbell rang just now."""
        self._heard = time.monotonic()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            if time.monotonic() - self._heard < QUIET_SECONDS:
                continue
            try:
                while self._take_some() == AT_ONCE and not self._stop.is_set():
                    pass
            except Unavailable:
                continue
            except Exception:
                log.exception("stealing_broken")

    def _take_some(self) -> int:
        room = min(AT_ONCE, self._slots - len(self._runner.running))
        if room <= 0:
            return 0
        taken = self._recorder.steal(self._queues, room)
        for prediction in taken:
            log.info("claimed_without_message", prediction=prediction.id)
            self._threads.submit(self._runner.run, prediction)
        return len(taken)

    def stop(self) -> None:
        """No more looking."""
        self._stop.set()
        self._threads.shutdown(wait=False)
