"""Models that somebody has uploaded, out of the storage: their parts put together, and each file compared
with the SHA-256 that was declared for it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import orjson

from app.domain.errors import ModelUnavailable, NotFound
from app.domain.model_uploads import UploadedModelFile, manifest_key, part_key
from app.outbound.deadline import CallCanceled
from app.storage.base import Storage


class UploadedModel:
    """One upload. `is_canceled`: nobody waits for it any more."""

    def __init__(self, storage: Storage, upload_id: str, is_canceled: Callable[[], bool]) -> None:
        self._storage, self._id = storage, upload_id
        self._is_canceled = is_canceled

    def files(self) -> list[UploadedModelFile]:
        """Raises ModelUnavailable for one that was removed."""
        try:
            blocks, _, _ = self._storage.open(manifest_key(self._id))
        except NotFound:
            raise ModelUnavailable("What was uploaded for this model has been removed.") from None
        return [UploadedModelFile(**each) for each in orjson.loads(b"".join(blocks))["files"]]

    def fetch(self, number: int, file: UploadedModelFile, path: Path) -> None:
        """Writes a file, by its place in the list. Raises ModelUnavailable, CallCanceled."""
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, copy_path = hashlib.sha256(), path.with_name(f".{path.name}.part")
        try:
            with copy_path.open("wb") as copy:
                for part in range(file.parts):
                    blocks, _, _ = self._storage.open(part_key(self._id, number, part))
                    for block in blocks:
                        if self._is_canceled():
                            raise CallCanceled("canceled")
                        digest.update(block)
                        copy.write(block)
        except NotFound:
            raise ModelUnavailable(f"A part of {file.name} has been removed from the storage.") from None
        if digest.hexdigest() != file.sha256:
            copy_path.unlink()
            raise ModelUnavailable(
                f"{file.name} is not what was declared: its SHA-256 is {digest.hexdigest()}, not"
                f" {file.sha256}. Remove the upload and send the model again."
            )
        os.replace(copy_path, path)
