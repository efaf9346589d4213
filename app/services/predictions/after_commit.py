"""What goes out after a commit (`stop` alone: before it): messages for workers and couriers, events for
readers. None of it is needed for correctness."""

from collections.abc import Mapping, Sequence

from app.broker.publisher import Publisher
from app.domain.predictions import Prediction
from app.events.writer import EventWriter
from app.observe.tracing import Period, Tracing, now


class Notifier:
    """Never blocks and never raises: both parts hand over to threads of their own."""

    def __init__(self, publisher: Publisher, events: EventWriter, tracing: Tracing | None = None) -> None:
        self._publisher, self._events = publisher, events
        self._tracing = tracing

    def accepted(self, predictions: Sequence[Prediction]) -> None:
        """A worker is to look at them. Their first change of state goes with the message."""
        began = now() if self._tracing else 0.0
        self._publisher.publish(
            ((prediction.queue, prediction.id) for prediction in predictions), _changes(predictions)
        )
        if self._tracing:
            _trace_publishing(self._tracing, predictions, began)

    def handed_back(self, predictions: Sequence[Prediction]) -> None:
        """They wait again."""
        self.notify([(prediction.id, prediction.queue) for prediction in predictions])
        self._events.state_changes(_changes(predictions), soon=True)

    def begun(self, predictions: Sequence[Prediction]) -> None:
        """Their model has begun them; their worker will also publish their end."""
        self._events.state_changes(_changes(predictions))

    def notify(self, pairs: Sequence[tuple[str, str]]) -> None:
        """A worker is to look at these (id, queue) pairs."""
        self._publisher.publish((queue, prediction_id) for prediction_id, queue in pairs)

    def ended(
        self, predictions: Sequence[Prediction], endings: Mapping[str, str | None] | None = None
    ) -> None:
        """They will not change again. `endings`, by id: what those who wait learn at once
        (`events.channels.encode_ending`)."""
        if predictions:
            by_id = {prediction.id: (endings or {}).get(prediction.id) for prediction in predictions}
            self._events.ended(by_id, _changes(predictions))

    def cancel(self, predictions: Sequence[Prediction]) -> None:
        """Their workers are to stop them."""
        if predictions:
            self._events.cancel([prediction.id for prediction in predictions])

    def stop(self, ids: Sequence[str]) -> None:
        """As `cancel`, ahead of the commit: for predictions that nobody waits for any more, where each step
        costs."""
        if ids:
            self._events.cancel(ids)

    def removed(self, ids: Sequence[str]) -> None:
        """Their data are gone, so the chunks of their streams are to go, too."""
        if ids:
            self._events.forget(ids)

    def deliveries(self, ids: Sequence[str]) -> None:
        """Webhooks to send."""
        if ids:
            self._publisher.publish_deliveries(ids)


def _trace_publishing(tracing: Tracing, predictions: Sequence[Prediction], began: float) -> None:
    period = Period(began, now())
    for prediction in predictions:
        if prediction.traceparent:
            attributes = {"lovage.prediction": prediction.id, "lovage.queue": prediction.queue}
            tracing.write("publish", prediction.traceparent, period, "producer", attributes)


def _changes(predictions: Sequence[Prediction]) -> list[list[str]]:
    return [
        [str(prediction.user_id), prediction.id, prediction.status.value, prediction.model]
        for prediction in predictions
        if prediction.user_id
    ]
