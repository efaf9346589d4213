"""What happened to a prediction, in order. Calls block."""

from app.db import deliveries, ended_attempts
from app.db.session import Database
from app.domain.history import HistoryEvent, list_events
from app.domain.predictions import Prediction

MOST_DELIVERIES = 100  # the oldest; lists of deliveries have pages


class PredictionHistory:
    """The caller has checked that the prediction may be read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_events(self, prediction: Prediction) -> list[HistoryEvent]:
        """Oldest first."""
        with self._database.unit() as session:
            attempts = ended_attempts.by_prediction(session, prediction.id)
            worker = ended_attempts.worker_name(session, prediction.worker) if prediction.worker else None
            sent = deliveries.by_prediction(session, prediction.id, cursor=None, limit=MOST_DELIVERIES)
        return list_events(prediction, attempts, worker, sent.results)
