"""An administrator has a prediction begin again: another worker is to have it, or its message was lost. Calls
block."""

from app.db import predictions as table
from app.db.session import Database
from app.domain.errors import Conflict
from app.domain.predictions import Prediction, Status
from app.services.predictions.after_commit import Notifier
from app.services.predictions.attempts import HandBack
from app.services.predictions.lifecycle import Lifecycle

REQUEUED = "an administrator had it begin again"
ENDED = "This prediction has {}: POST /v1/predictions/rerun makes a new one of it."


class Requeuer:
    """One for each API process."""

    def __init__(self, database: Database, lifecycle: Lifecycle, notifier: Notifier) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._notifier = notifier

    def requeue(self, prediction: Prediction) -> Prediction:
        """One that runs waits again, and the attempt until now may record nothing; its worker drops it within
        two heartbeats. One that waits is published again, a delay after a crash ends. Raises Conflict for one
        that has ended."""
        if prediction.ended:
            raise Conflict(ENDED.format(prediction.status.value))
        if prediction.status is Status.PROCESSING and prediction.worker:
            fence = (prediction.id, prediction.attempt, prediction.worker)
            self._lifecycle.hand_back([HandBack(*fence, reason=REQUEUED)])
        else:
            with self._database.unit() as session:
                waiting = table.end_delay(session, prediction.id)
            self._notifier.notify([(each.id, each.queue) for each in waiting])
        with self._database.unit() as session:
            return table.get(session, [prediction.id])[prediction.id]
