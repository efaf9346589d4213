"""Moves the files that a model wrote to the storage, and long outputs themselves, under keys that name the
attempt, so that nobody overwrites anybody."""

import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.domain.errors import StorageFailed
from app.domain.work import file_out, map_files
from app.json_text import JsonText
from app.outbound.deadline import CallCanceled
from app.services.predictions.prediction_view import output_prefix
from app.services.predictions.stored_values import StoredValues, output_key
from app.storage.base import Storage

log = structlog.get_logger(__name__)


class Outputs:
    """Thread-safe when the storage is."""

    def __init__(self, storage: Storage) -> None:
        self._storage, self._values = storage, StoredValues(storage)

    def store(
        self,
        output: Any,
        folder: Path,
        prediction_id: str,
        attempt: int,
        is_unwanted: Callable[[], bool] = lambda: False,
    ) -> tuple[Any, int]:
        """(The output with its file names replaced by storage keys, bytes of the files). Raises
        StorageFailed, CallCanceled when it `is_unwanted`: then nothing of it is left."""
        prefix = f"{output_prefix(prediction_id)}{attempt}/"
        sizes: dict[str, int] = {}

        def put(name: str) -> Any:
            key, size = self._put(name, folder, prefix)
            sizes[key] = size
            if is_unwanted():
                self._delete(prediction_id, list(sizes))
                raise CallCanceled
            return file_out(key)

        return map_files(output, put), sum(sizes.values())

    def store_value(self, text: JsonText, prediction_id: str, attempt: int) -> str:
        """Its key. Raises StorageFailed."""
        key = output_key(prediction_id, attempt)
        self._values.put(key, text)
        return key

    def forget_others(self, prediction_id: str, attempt: int) -> None:
        """Deletes what other attempts have stored: nothing names it any more."""
        prefix = output_prefix(prediction_id)
        try:
            others = [key for key in self._storage.list(prefix) if not key.startswith(f"{prefix}{attempt}/")]
        except StorageFailed as error:
            log.warning("old_files_left", prediction=prediction_id, reason=error.detail)
        else:
            self._delete(prediction_id, others)

    def _delete(self, prediction_id: str, keys: list[str]) -> None:
        """What cannot be deleted now goes with the prediction's data."""
        try:
            if keys:
                self._storage.delete(keys)
        except StorageFailed as error:
            log.warning("old_files_left", prediction=prediction_id, reason=error.detail)

    def _put(self, name: str, folder: Path, prefix: str) -> tuple[str, int]:
        """(key, bytes)."""
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise StorageFailed("The model named an output file that it did not write.")
        key = prefix + path.name
        self._storage.put(key, path, mimetypes.guess_type(path.name)[0] or "application/octet-stream")
        return key, path.stat().st_size
