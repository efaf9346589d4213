"""The webhooks of a move: rows written in its transaction, so that neither is there without the other. Knows
no sending."""

from collections.abc import Sequence

import orjson
from sqlalchemy.orm import Session

from app.db import deliveries
from app.domain.predictions import Prediction
from app.domain.webhooks import delivery_id, wants
from app.services.predictions.prediction_view import PredictionView


class WebhookOutbox:
    """Thread-safe."""

    def __init__(self, view: PredictionView) -> None:
        self._view = view

    def write(
        self, session: Session, predictions: Sequence[Prediction], event: str, number: int = 0
    ) -> list[str]:
        """One row for each prediction with a webhook for this event; the body is the public object. Returns
        the ids."""
        rows = [
            {
                "id": delivery_id(prediction.id, event, number),
                "prediction_id": prediction.id,
                "user_id": prediction.user_id,
                "event": event,
                "url": prediction.webhook,
                "body": orjson.dumps(self._view.render(prediction, as_starting=event == "start")),
            }
            for prediction in predictions
            if prediction.webhook and wants(prediction.webhook_events, event)
        ]
        if rows:
            deliveries.insert_many(session, rows)
        return [str(row["id"]) for row in rows]
