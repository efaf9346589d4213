"""The webhooks of a move: rows written in its transaction, so that neither is there without the other. Knows
no sending."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import structlog
from sqlalchemy.orm import Session

from app.coalesce import split_groups
from app.db import deliveries
from app.db import predictions as table
from app.domain.errors import StorageFailed
from app.domain.predictions import Prediction, Status
from app.domain.webhooks import EVENTS_OF_ATTEMPT, delivery_id, wants
from app.services.predictions.attempts import Ending
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.whole_answers import WholeAnswers

log = structlog.get_logger(__name__)

GROUP = 128  # rows of one INSERT
# A webhook repeats what was sent and answered up to so many bytes of JSON. Past that it says where they are:
# the body is kept in Postgres until the delivery is forgotten, and held by the courier while it is sent.
LONGEST_BODY = 8_000_000


class WebhookOutbox:
    """Thread-safe."""

    def __init__(self, view: PredictionView, answers: WholeAnswers) -> None:
        self._view, self._answers = view, answers

    def write(
        self, session: Session, predictions: Sequence[Prediction], event: str, number: int = 0
    ) -> list[str]:
        """One row for each prediction with a webhook for this event; the body is the public object, without
        its long values where it would be longer than LONGEST_BODY. Returns the ids."""
        wanting = [each for each in predictions if each.webhook and wants(each.webhook_events, event)]
        rows = (self._row(session, prediction, event, number) for prediction in wanting)
        for group in split_groups(rows, GROUP, lambda row: len(row["body"])):
            deliveries.insert_many(session, group)
        return [delivery_id(prediction.id, event, number) for prediction in wanting]

    def write_ends(
        self, session: Session, ended: Sequence[Prediction], endings: Sequence[Ending]
    ) -> list[str]:
        """The same of the ends of attempts, after the events of its beginning and its output that a short run
        still owes."""
        starts = {ending.id for ending in endings if ending.owes_start}
        outputs = {ending.id for ending in endings if ending.owes_output}
        ids = self.write(session, [each for each in ended if each.id in starts], "start")
        for prediction in ended:
            if prediction.id in outputs:
                number = prediction.attempt * EVENTS_OF_ATTEMPT
                ids += self.write(session, [prediction], "output", number)
        return ids + self.write(session, ended, "completed")

    def _row(self, session: Session, prediction: Prediction, event: str, number: int) -> dict[str, Any]:
        return {
            "id": delivery_id(prediction.id, event, number),
            "prediction_id": prediction.id,
            "user_id": prediction.user_id,
            "event": event,
            "url": prediction.webhook,
            "body": self._body(session, prediction, as_starting=event == "start"),
        }

    def _body(self, session: Session, prediction: Prediction, *, as_starting: bool) -> bytes:
        if prediction.left_out and prediction.size <= LONGEST_BODY:
            prediction = table.get(session, [prediction.id])[prediction.id]
        prediction = _at_its_start(prediction) if as_starting else prediction
        if prediction.not_here and not prediction.left_out:
            try:
                whole = self._answers.render(prediction, as_starting=as_starting)
                if whole.size <= LONGEST_BODY:
                    return b"".join(whole.blocks)
            except (
                StorageFailed
            ) as error:  # the move itself is not undone for that: the body says where it is
                log.warning("webhook_without_values", **prediction.log_names, reason=error.detail)
        return orjson.dumps(self._view.render(prediction, as_starting=as_starting))


def _at_its_start(prediction: Prediction) -> Prediction:
    """As it was when its model began it, though a short run has ended by now."""
    return replace(
        prediction,
        status=Status.PROCESSING,
        output=None,
        output_key=None,
        error=None,
        error_code=None,
        logs="",
        metrics={},
        progress=prediction.progress or {},
        completed_at=None,
        left_out=tuple(name for name in prediction.left_out if name == "input"),
    )
