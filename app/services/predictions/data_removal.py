"""Removing an ended prediction's data on request: its stored files first, then input, output and logs. Calls
block."""

from app.domain.errors import Conflict
from app.domain.predictions import Prediction
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.prediction_view import output_prefix
from app.storage.base import Storage


class DataRemoval:
    """The caller has checked whose prediction it is."""

    def __init__(self, lifecycle: Lifecycle, storage: Storage) -> None:
        self._lifecycle, self._storage = lifecycle, storage

    def remove(self, prediction: Prediction) -> None:
        """Removing twice is fine. Raises Conflict while the prediction runs: it would write its data
        afterwards."""
        if not prediction.ended:
            raise Conflict("This prediction has not ended yet. Cancel it first.")
        self._storage.delete(list(self._storage.list(output_prefix(prediction.id))))
        self._lifecycle.remove_data([prediction.id])
