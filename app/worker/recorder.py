"""A worker's writes to the lifecycle, each coalesced: claims, growth, endings. Endings are kept and tried again while
Postgres is away, so that finished work is not lost with it."""

import time
from uuid import UUID, uuid4

import structlog

from app.coalesce import ThreadCoalescer
from app.domain.errors import Unavailable
from app.domain.predictions import Prediction
from app.services.lifecycle import Ending, Growth, Lifecycle, Return

log = structlog.get_logger(__name__)

KEEP_TRYING_SECONDS = 300.0
RETRY_SECONDS = 0.5
GROUP = 128


class Recorder:
    """Thread-safe. `worker` is this incarnation; `renew` gives a fresh one when it has been declared dead."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self.worker: UUID = uuid4()
        self._claim: ThreadCoalescer[str, Prediction | None] = ThreadCoalescer(
            lambda ids: lifecycle.claim(ids, self.worker), limit=GROUP
        )
        self._grow: ThreadCoalescer[Growth, bool] = ThreadCoalescer(lifecycle.grow, limit=GROUP)
        self._finish: ThreadCoalescer[Ending, Prediction | None] = ThreadCoalescer(lifecycle.finish, limit=GROUP)

    def renew(self) -> UUID:
        """A new identity: everything claimed under the old one is no longer ours."""
        self.worker = uuid4()
        return self.worker

    def claim(self, prediction_id: str) -> Prediction | None:
        """The prediction, now this worker's; None when it is not to be had. Raises Unavailable."""
        return self._claim(prediction_id)

    def steal(self, queues: list[str], limit: int) -> list[Prediction]:
        """Waiting predictions that nobody told us of. Raises Unavailable."""
        return self._lifecycle.steal(queues, self.worker, limit)

    def grow(self, news: Growth) -> bool:
        """False when the prediction is no longer ours. A database that is away changes nothing: the end tells all."""
        try:
            return self._grow(news)
        except Unavailable:
            return True

    def finish(self, ending: Ending) -> bool:
        """Records the end, trying for some minutes while Postgres is away. False: it was not ours any more, or time ran out."""
        until = time.monotonic() + KEEP_TRYING_SECONDS
        while True:
            try:
                return self._finish(ending) is not None
            except Unavailable:
                if time.monotonic() > until:
                    log.error("result_given_up", prediction=ending.id, attempt=ending.attempt)
                    return False
                time.sleep(RETRY_SECONDS)

    def give_back(self, one: Return) -> None:
        """Back to waiting; when Postgres is away the sweep does it later."""
        try:
            self._lifecycle.give_back([one])
        except Unavailable:
            log.warning("give_back_left_to_sweep", prediction=one.id)
