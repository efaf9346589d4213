"""Removing ended predictions' data, on request or after the retention time: the files and the output of each
first, then the rows' inputs, outputs and logs, at last stored inputs that no prediction needs any more. What
fails in between is done by a later sweep. Calls block.
"""

from collections.abc import Sequence

from app.db import predictions as table
from app.db import sweeps
from app.db.session import Database
from app.domain.errors import Conflict, StorageFailed
from app.domain.predictions import Prediction
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.prediction_view import output_prefix
from app.storage.base import Storage

MOST_FAILURES = 10  # after so many the storage is taken to be away


class DataRemoval:
    """The caller has checked whose predictions they are."""

    def __init__(self, database: Database, lifecycle: Lifecycle, storage: Storage) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._storage = storage

    def remove(self, prediction: Prediction) -> None:
        """Removing twice is fine. Raises Conflict while the prediction runs: it would write its data
        afterwards."""
        if not prediction.ended:
            raise Conflict("This prediction has not ended yet. Cancel it first.")
        self.remove_all([prediction.id])

    def remove_all(self, ids: Sequence[str]) -> int:
        """Of predictions that have ended. Returns how many lost theirs just now. Raises StorageFailed when
        the files of some cannot be deleted, after it has removed what the others have."""
        deleted, failures = self._delete_files(ids)
        removed = self._lifecycle.remove_data(deleted) if deleted else []
        self._delete_inputs([prediction.input_key for prediction in removed if prediction.input_key])
        if failures:
            raise failures[0]
        return len(removed)

    def _delete_files(self, ids: Sequence[str]) -> tuple[list[str], list[StorageFailed]]:
        """(Whose are gone, what went wrong); no more are tried when that was often."""
        deleted: list[str] = []
        failures: list[StorageFailed] = []
        for prediction_id in ids:
            try:
                self._storage.delete(list(self._storage.list(output_prefix(prediction_id))))
                deleted.append(prediction_id)
            except StorageFailed as error:
                failures.append(error)
                if len(failures) == MOST_FAILURES:
                    break
        return deleted, failures

    def finish_removals(self, limit: int) -> int:
        """Deletes at most `limit` stored inputs whose predictions are removed: the process that removed the
        last of them died before it came to that. Returns how many."""
        with self._database.unit() as session:
            keys = sweeps.inputs_to_delete(session, limit)
        self._delete_inputs(keys)
        return len(keys)

    def _delete_inputs(self, keys: Sequence[str]) -> None:
        """Those that no prediction has any more: those of one call may share one."""
        if not keys:
            return
        with self._database.unit() as session:
            unneeded = table.unneeded_inputs(session, keys)
        if unneeded:
            self._storage.delete(unneeded)
            with self._database.unit() as session:
                table.forget_inputs(session, unneeded)
