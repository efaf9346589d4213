"""Models that are uploaded: begun with a list of files, sent part by part in any order, and from any process,
then the source of a version. Knows no HTTP. Calls block: use threads."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from app.db import model_uploads as table
from app.db import storage_use
from app.db.session import Database
from app.domain import model_uploads
from app.domain.errors import (
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    QuotaExceeded,
    wrong_field,
    wrong_fields,
)
from app.domain.model_uploads import ModelUpload, NewModelUpload, UploadedModelFile
from app.domain.predictions import is_id, new_id
from app.domain.versions import NAME_RULE, is_name, too_large
from app.services.catalogue.model_files import CONFIG_FILES, INDEX, ModelFiles, read_folder, wrong_source
from app.services.people.access import Principal
from app.storage.base import Storage

NO_UPLOAD = "The requested upload could not be found."
HEAD_BYTES = 1 << 16  # of a file that is no configuration: what tells a pointer, and where a header ends
PART_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """`most` bytes of one model; `quota` of all that a user has uploaded, files too. 0: no limit."""

    most: int = 0
    quota: int = 0


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """`missing`: by each file's place, the numbers of the parts that are not here yet."""

    upload: ModelUpload
    missing: tuple[tuple[int, ...], ...]

    @property
    def is_complete(self) -> bool:
        return not any(self.missing)


class ModelUploads:
    """One for each API process."""

    def __init__(self, database: Database, storage: Storage, limits: UploadLimits) -> None:
        self._database, self._storage = database, storage
        self._limits = limits

    def begin(
        self, principal: Principal, owner: str, name: str, files: Sequence[UploadedModelFile]
    ) -> UploadProgress:
        """The same files for the same model go on with the upload that was begun. Raises InvalidRequest
        naming the field, Forbidden, PayloadTooLarge, QuotaExceeded."""
        user_id = principal.need_user()
        check_owner(principal, owner)
        if not is_name(name):
            raise wrong_field("name", NAME_RULE)
        faults = model_uploads.list_faults(files)
        if wrong := tuple(FieldError(field, "value", sentence) for field, sentence in faults):
            raise wrong_fields(wrong)
        size, model = sum(file.size for file in files), f"{owner}/{name}"
        if self._limits.most and size > self._limits.most:
            raise PayloadTooLarge(f"The model {too_large(size, self._limits.most)} (MAX_MODEL_BYTES).")
        content = model_uploads.content_hash(files)
        upload = NewModelUpload(
            id=new_id(time.time_ns() // 1_000_000),
            user_id=user_id,
            model=model,
            files=[asdict(file) for file in files],
            content=content,
            bytes=size,
        )
        with self._database.unit() as session:
            added = table.by_content(session, user_id, model, content)
            if added is None:
                added = table.add(session, upload) or table.by_content(session, user_id, model, content)
                is_new = added is not None and added.id == upload.id
                if is_new and not storage_use.add_upload(session, user_id, size, self._limits.quota):
                    raise self._quota_exceeded()
        if added is None:  # removed in this very moment
            raise Conflict("The same upload is being removed. Try again.")
        manifest = orjson.dumps({"files": added.files})
        self._storage.put(model_uploads.manifest_key(added.id), manifest, "application/json")
        return self._progress(added)

    def _quota_exceeded(self) -> QuotaExceeded:
        return QuotaExceeded(
            f"Your uploads may have {self._limits.quota:,} bytes together: delete files or models, or ask an"
            " administrator (UPLOAD_QUOTA_BYTES)."
        )

    def get(self, principal: Principal, owner: str, name: str, upload_id: str) -> UploadProgress:
        """What is here, and what is missing. Raises NotFound, also for somebody else's."""
        return self._progress(self._own(principal, owner, name, upload_id))

    def _own(self, principal: Principal, owner: str, name: str, upload_id: str) -> ModelUpload:
        with self._database.unit() as session:
            upload = table.by_id(session, upload_id) if is_id(upload_id) else None
        if upload is None or upload.model != f"{owner}/{name}" or not may_use(principal, upload):
            raise NotFound(NO_UPLOAD)
        return upload

    def _progress(self, upload: ModelUpload) -> UploadProgress:
        here = {model_uploads.part_of(key) for key in self._storage.list(model_uploads.prefix(upload.id))}
        missing = (
            tuple(part for part in range(file.parts) if (i, part) not in here)
            for i, file in enumerate(upload.folder)
        )
        return UploadProgress(upload, tuple(missing))

    def part_bytes(
        self, principal: Principal, owner: str, name: str, upload_id: str, file: int, part: int
    ) -> int:
        """How many bytes a part has. Raises NotFound."""
        upload = self._own(principal, owner, name, upload_id)
        try:
            return upload.folder[file].part_size(part) if file >= 0 else 0
        except IndexError:
            raise NotFound("This upload has no such part.") from None

    def put_part(self, upload_id: str, file: int, part: int, content: Path) -> None:
        """Stores it; a second time it takes the first one's place. The caller has checked its size."""
        self._storage.put(model_uploads.part_key(upload_id, file, part), content, PART_TYPE)

    def remove(self, principal: Principal, owner: str, name: str, upload_id: str) -> None:
        """Raises Conflict while a version is made of it, NotFound."""
        upload = self._own(principal, owner, name, upload_id)
        with self._database.unit() as session:
            if table.is_used(session, upload.id):
                raise Conflict("A version is made of this upload: delete the version, and it goes by itself.")
            table.remove(session, [upload.id])
        remove_parts(self._storage, [upload.id])

    def inspect(self, upload_id: str) -> tuple[ModelUpload, ModelFiles]:
        """What a version of it would be made of. Raises InvalidRequest naming `source`."""
        with self._database.unit() as session:
            upload = table.by_id(session, upload_id)
        if upload is None:
            raise wrong_source("names no upload, or one that was removed")
        progress = self._progress(upload)
        if not progress.is_complete:
            missing = sum(map(len, progress.missing))
            raise wrong_source(f"names an upload that is not complete; parts missing: {missing}")
        with tempfile.TemporaryDirectory(prefix="lovage-upload-") as name:
            folder = Path(name)
            for i, file in enumerate(upload.folder):
                self._write_head(upload.id, i, file, folder / file.name)
            return upload, read_folder(folder, [folder.resolve()])

    def _write_head(self, upload_id: str, number: int, file: UploadedModelFile, path: Path) -> None:
        """A file of the same size that takes no space: of weights only their header, of others only their
        beginning is there, and of configuration files everything."""
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = self._head_bytes(upload_id, number, file)
        with path.open("wb") as copy:
            for part in range(file.parts):
                if copy.tell() >= needed:
                    break
                blocks, _, _ = self._storage.open(model_uploads.part_key(upload_id, number, part))
                for block in blocks:
                    copy.write(block)
            copy.truncate(file.size)

    def _head_bytes(self, upload_id: str, number: int, file: UploadedModelFile) -> int:
        if file.name in CONFIG_FILES or file.name.endswith(INDEX):
            return file.size
        if not file.name.endswith(".safetensors") or file.size < 8:
            return min(file.size, HEAD_BYTES)
        blocks, _, _ = self._storage.open(model_uploads.part_key(upload_id, number, 0), (0, 7))
        return min(file.size, 8 + int.from_bytes(b"".join(blocks), "little"))


def check_owner(principal: Principal, owner: str) -> None:
    """Raises Forbidden."""
    if owner != principal.username and not principal.is_operator:
        raise Forbidden("Only administrators can upload models under another name than their own.")


def may_use(principal: Principal, upload: ModelUpload) -> bool:
    """Whether somebody may send its parts, and make a version of it."""
    return principal.is_operator or (principal.user_id is not None and upload.user_id == principal.user_id)


def remove_parts(storage: Storage, ids: Sequence[str]) -> None:
    """The bytes of uploads whose rows are gone."""
    for upload_id in ids:
        storage.delete(list(storage.list(model_uploads.prefix(upload_id))))
