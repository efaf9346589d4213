"""Uploaded files, and the bytes behind signed URLs. Knows no HTTP. Calls block: use threads."""

import base64
import hashlib
import hmac
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from app.db import files as table
from app.db import storage_use, users
from app.db.session import Database
from app.domain.errors import Gone, InvalidRequest, NotFound, PayloadTooLarge, QuotaExceeded
from app.domain.files import NewFile, UploadedFile
from app.domain.pages import Page
from app.domain.predictions import is_id, new_id
from app.domain.versions import is_name
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.access import Principal
from app.storage.base import BLOCK, Range, Storage
from app.storage.signing import UrlSigner

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")
CONTENT_TYPE = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}\Z")
DEFAULT_TYPE = "application/octet-stream"
NO_FILE = "The requested file could not be found."
NO_LINK = "This link is not valid, or it has expired."


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to send: the blocks of `part` (or of everything), the whole size, the stored content type."""

    blocks: Iterator[bytes]
    size: int
    content_type: str


def share_signature(file_key: str, owner: str, file_id: str, expiry: int) -> bytes:
    """What signs a link to a file: base64 of HMAC-SHA256 over `{owner} {id} {expiry}`, `expiry` in Unix
    seconds; the key is the owner's key for links, `lfk_` included."""
    return base64.b64encode(hmac.digest(file_key.encode(), f"{owner} {file_id} {expiry}".encode(), "sha256"))


def in_standard_base64(signature: str) -> bytes:
    """The same in standard base64 with its padding, whichever way it was written into a URL."""
    text = (
        signature.replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=").encode("utf-8", "replace")
    )
    return text + b"=" * (-len(text) % 4)


@dataclass(frozen=True, slots=True)
class FileLimits:
    """`max_bytes` of one file; `quota` of all of one user's (0: no limit); 0 hours: kept."""

    max_bytes: int
    quota: int
    retention_hours: float


class Files:
    """One for each API process."""

    def __init__(self, database: Database, storage: Storage, secret: str, limits: FileLimits) -> None:
        self._database, self._storage = database, storage
        self._signer = UrlSigner(secret)
        self._max_bytes, self._quota = limits.max_bytes, limits.quota
        self._hours = limits.retention_hours

    def upload(
        self,
        principal: Principal,
        content: IO[bytes],
        name: str,
        content_type: str,
        details: dict[str, Any],
        key: str | None = None,
    ) -> UploadedFile:
        """Stores the bytes first, then the row that names them. Empty files are fine. Raises PayloadTooLarge,
        QuotaExceeded.

        The same idempotency key, bytes and description give the file that exists already; InvalidRequest for
        others, Gone when it has been deleted.
        """
        principal.need("predict")
        user_id, file_id = principal.need_user(), new_id(time.time_ns() // 1_000_000)
        with tempfile.NamedTemporaryFile(prefix="lovage-upload-") as copy:
            size, sha256, md5 = self._copy(content, copy)
            file = NewFile(
                id=file_id,
                user_id=user_id,
                name=UNPRINTABLE.sub("_", name)[-255:] or "file",
                content_type=content_type if CONTENT_TYPE.match(content_type) else DEFAULT_TYPE,
                size=size,
                sha256=sha256,
                md5=md5,
                details=details,
                storage_key=f"files/{file_id}",
                expires_at=datetime.now(UTC) + timedelta(hours=self._hours) if self._hours else None,
            )
            description = [sha256, name, content_type, details]
            idempotent = IdempotentRequest.with_key("files.create", key, description)
            try:
                return self._store(user_id, file, Path(copy.name), idempotent)
            except CreatedBefore as before:
                return self._created_before(before.resource)

    def _store(
        self, user_id: UUID, file: NewFile, copy: Path, idempotent: IdempotentRequest | None
    ) -> UploadedFile:
        """Raises CreatedBefore, QuotaExceeded; the bytes of a file without a row are removed."""
        with self._database.unit() as session:
            idempotency.check_unused(session, user_id, idempotent)
            if self._quota and storage_use.sum_uploads(session, user_id) + file.size > self._quota:
                raise self._quota_exceeded()
        self._storage.put(file.storage_key, copy, file.content_type)
        try:
            with self._database.unit() as session:
                idempotency.record(session, user_id, idempotent, file.id)
                if not storage_use.add_upload(session, user_id, file.size, self._quota):
                    raise self._quota_exceeded()
                return table.add(session, file)
        except (CreatedBefore, InvalidRequest, QuotaExceeded):
            self._storage.delete([file.storage_key])
            raise

    def _quota_exceeded(self) -> QuotaExceeded:
        return QuotaExceeded(
            f"Your uploaded files may have {self._quota:,} bytes together: delete some (DELETE /v1/files/…),"
            " or ask an administrator (UPLOAD_QUOTA_BYTES)."
        )

    def _created_before(self, file_id: str) -> UploadedFile:
        with self._database.unit() as session:
            file = table.by_id(session, file_id)
        if file is None:
            raise Gone("The file that this Idempotency-Key has made is deleted or expired.")
        return file

    def _copy(self, content: IO[bytes], copy: Any) -> tuple[int, str, str]:
        """Copies and measures in one pass: (bytes, SHA-256, MD5). Raises PayloadTooLarge."""
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        size = 0
        while block := content.read(BLOCK):
            size += len(block)
            if size > self._max_bytes:
                raise PayloadTooLarge(f"A file may have at most {self._max_bytes} bytes.")
            sha256.update(block)
            md5.update(block)
            copy.write(block)
        copy.flush()
        return size, sha256.hexdigest(), md5.hexdigest()

    def get(self, principal: Principal, file_id: str) -> UploadedFile:
        """The caller's own file. Raises NotFound, also for somebody else's."""
        with self._database.unit() as session:
            file = table.by_id(session, file_id) if is_id(file_id) else None
        if file is None or principal.user_id is None or not principal.owns(file.user_id):
            raise NotFound(NO_FILE)
        return file

    def page(
        self, principal: Principal, *, cursor: str | None = None, limit: int = 100
    ) -> Page[UploadedFile]:
        """The caller's files, newest first."""
        with self._database.unit() as session:
            return table.by_user(session, principal.need_user(), cursor=cursor, limit=limit)

    def remove(self, principal: Principal, file_id: str) -> None:
        """Deletes the row, then the bytes: bytes without a row are wasted space, a row without bytes would be
        a lie."""
        file = self.get(principal, file_id)
        with self._database.unit() as session:
            table.forget(session, [file.id])
        self._storage.delete([file.storage_key])

    def open(self, file: UploadedFile, part: Range | None = None) -> Content:
        """A file's bytes. Raises Gone when they are no longer there."""
        return self._open(file.storage_key, part)

    def open_signed(self, key: str, expires: int, signature: str, part: Range | None = None) -> Content:
        """The bytes behind a URL that the storage signed. Raises NotFound for a wrong or expired
        signature."""
        if not self._signer.verify(key, expires, signature):
            raise NotFound(NO_LINK)
        return self._open(key, part)

    def open_shared(
        self, file_id: str, owner: str, expiry: int, signature: str
    ) -> tuple[UploadedFile, Content]:
        """A file by a link that its owner has signed (`share_signature`). Raises NotFound for any other,
        Gone."""
        with self._database.unit() as session:
            file = table.by_id(session, file_id) if is_id(file_id) else None
            user = users.by_username(session, owner) if is_name(owner) else None
        if (
            file is None
            or user is None
            or file.user_id != user.id
            or expiry < time.time()
            or user.disabled_at
        ):
            raise NotFound(NO_LINK)
        expected = share_signature(user.file_key, owner, file_id, expiry)
        if not hmac.compare_digest(expected, in_standard_base64(signature)):
            raise NotFound(NO_LINK)
        return file, self.open(file)

    def _open(self, key: str, part: Range | None) -> Content:
        try:
            return Content(*self._storage.open(key, part))
        except NotFound:
            raise Gone("This file has been removed.") from None
