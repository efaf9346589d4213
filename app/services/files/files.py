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

from app.db import files as table
from app.db import users
from app.db.pages import Page
from app.db.session import Database
from app.db.tables import FileRow
from app.domain.errors import Gone, InvalidRequest, NotFound, PayloadTooLarge
from app.domain.predictions import is_id, new_id
from app.domain.versions import is_name
from app.services import idempotency
from app.services.idempotency import MadeBefore, Once
from app.services.people.access import Principal
from app.storage.base import BLOCK, Range, Storage
from app.storage.signing import UrlSigner

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\\ud800-\udfff]")
CONTENT_TYPE = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}\Z")
NO_FILE = "The requested file could not be found."
NO_LINK = "This link is not valid, or it has expired."


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes to send: the blocks of `part` (or of everything), the whole size, the stored content type."""

    blocks: Iterator[bytes]
    size: int
    content_type: str


def share_signature(secret: str, owner: str, file_id: str, expiry: int) -> bytes:
    """What signs a link to a file: base64 of HMAC-SHA256 over `{owner} {id} {expiry}`, `expiry` in Unix
    seconds; the key is the owner's webhook secret, `whsec_` included."""
    return base64.b64encode(hmac.digest(secret.encode(), f"{owner} {file_id} {expiry}".encode(), "sha256"))


def standard(signature: str) -> bytes:
    """The same in standard base64 with its padding, whichever way it was written into a URL."""
    text = (
        signature.replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=").encode("utf-8", "replace")
    )
    return text + b"=" * (-len(text) % 4)


class Files:
    """One for each API process."""

    def __init__(
        self, database: Database, storage: Storage, secret: str, *, max_bytes: int, retention_hours: float
    ) -> None:
        self._database, self._storage, self._signer = database, storage, UrlSigner(secret)
        self._max_bytes, self._hours = max_bytes, retention_hours

    def upload(
        self,
        principal: Principal,
        content: IO[bytes],
        name: str,
        content_type: str,
        details: dict[str, Any],
        key: str | None = None,
    ) -> FileRow:
        """Stores the bytes first, then the row that names them. Empty files are fine. Raises PayloadTooLarge.

        The same idempotency key, bytes and description give the file that exists already; InvalidRequest for
        others, Gone when it has been deleted.
        """
        principal.need("predict")
        file_id = new_id(time.time_ns() // 1_000_000)
        row = FileRow(
            id=file_id,
            user_id=principal.need_user(),
            name=UNPRINTABLE.sub("_", name)[-255:] or "file",
            content_type=content_type if CONTENT_TYPE.match(content_type) else "application/octet-stream",
            details=details,
            storage_key=f"files/{file_id}",
            expires_at=datetime.now(UTC) + timedelta(hours=self._hours) if self._hours else None,
        )
        with tempfile.NamedTemporaryFile(prefix="lovage-upload-") as copy:
            self._copy(content, copy, row)
            once = Once.of("files.create", key, [row.sha256, name, content_type, details])
            try:
                self._keep(row, Path(copy.name), once)
            except MadeBefore as before:
                return self._made(before.resource)
        return row

    def _keep(self, row: FileRow, copy: Path, once: Once | None) -> None:
        """Raises MadeBefore; the bytes of a file that lost the race with its twin are removed."""
        assert row.user_id is not None
        with self._database.unit() as session:
            idempotency.look(session, row.user_id, once)
        self._storage.put(row.storage_key, copy, row.content_type)
        try:
            with self._database.unit() as session:
                idempotency.claim(session, row.user_id, once, row.id)
                table.add(session, row)
        except (MadeBefore, InvalidRequest):
            self._storage.delete([row.storage_key])
            raise

    def _made(self, file_id: str) -> FileRow:
        with self._database.unit() as session:
            found = table.by_id(session, file_id)
        if found is None:
            raise Gone("The file that this Idempotency-Key has made is deleted or expired.")
        return found

    def _copy(self, content: IO[bytes], copy: Any, row: FileRow) -> None:
        """Copies and measures in one pass."""
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        while block := content.read(BLOCK):
            size += len(block)
            if size > self._max_bytes:
                raise PayloadTooLarge(f"A file may have at most {self._max_bytes} bytes.")
            sha256.update(block)
            md5.update(block)
            copy.write(block)
        copy.flush()
        row.size, row.sha256, row.md5 = size, sha256.hexdigest(), md5.hexdigest()

    def get(self, principal: Principal, file_id: str) -> FileRow:
        """The caller's own file. Raises NotFound, also for somebody else's."""
        with self._database.unit() as session:
            found = table.by_id(session, file_id) if is_id(file_id) else None
        if found is None or principal.user_id is None or not principal.owns(found.user_id):
            raise NotFound(NO_FILE)
        return found

    def page(self, principal: Principal, *, cursor: str | None = None, limit: int = 100) -> Page[FileRow]:
        """The caller's files, newest first."""
        with self._database.unit() as session:
            return table.of_user(session, principal.need_user(), cursor=cursor, limit=limit)

    def remove(self, principal: Principal, file_id: str) -> None:
        """Deletes the row, then the bytes: bytes without a row are wasted room, a row without bytes would be
        a lie."""
        row = self.get(principal, file_id)
        with self._database.unit() as session:
            table.remove(session, row)
        self._storage.delete([row.storage_key])

    def open(self, row: FileRow, part: Range | None = None) -> Content:
        """A file's bytes. Raises Gone when they are no longer there."""
        return self._open(row.storage_key, part)

    def open_signed(self, key: str, expires: int, signature: str, part: Range | None = None) -> Content:
        """The bytes behind a URL that the storage signed. Raises NotFound for a wrong or expired
        signature."""
        if not self._signer.verify(key, expires, signature):
            raise NotFound(NO_LINK)
        return self._open(key, part)

    def open_shared(self, file_id: str, owner: str, expiry: int, signature: str) -> tuple[FileRow, Content]:
        """A file by a link that its owner has signed (`share_signature`). Raises NotFound for any other,
        Gone."""
        with self._database.unit() as session:
            row = table.by_id(session, file_id) if is_id(file_id) else None
            user = users.by_username(session, owner) if is_name(owner) else None
        if row is None or user is None or row.user_id != user.id or expiry < time.time() or user.disabled_at:
            raise NotFound(NO_LINK)
        if not hmac.compare_digest(
            share_signature(user.webhook_secret, owner, file_id, expiry), standard(signature)
        ):
            raise NotFound(NO_LINK)
        return row, self.open(row)

    def _open(self, key: str, part: Range | None) -> Content:
        try:
            return Content(*self._storage.open(key, part))
        except NotFound:
            raise Gone("This file has been removed.") from None
