"""Inputs that a claim leaves out because they are long: read when their prediction's turn comes, a few
megabytes at once. Calls block.
"""

from collections.abc import Sequence
from typing import Any

from app.coalesce import ThreadCoalescer
from app.db import predictions as table
from app.db.session import Database
from app.domain.predictions import Prediction
from app.services.predictions.stored_values import StoredValues
from app.storage.base import Storage

Input = dict[str, Any] | None


class LongInputs:
    """Thread-safe."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database, self._values = database, StoredValues(storage)
        self._read: ThreadCoalescer[Prediction, Input] = ThreadCoalescer(
            self._read_group, size_of=lambda prediction: prediction.input_bytes or 0
        )

    def whole_input(self, prediction: Prediction) -> dict[str, Any]:
        """What the model is called with. Raises StorageFailed, Unavailable."""
        if "input" not in prediction.not_here:
            return prediction.input or {}
        return self._values.whole_input(self._read(prediction), prediction.input_key)

    def _read_group(self, predictions: list[Prediction]) -> Sequence[Input]:
        ids = [prediction.id for prediction in predictions]
        with self._database.autocommit() as statement:
            inputs = table.inputs(statement, ids)
        return [inputs.get(prediction_id) for prediction_id in ids]
