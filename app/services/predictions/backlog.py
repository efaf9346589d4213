"""Back-pressure: refuses new predictions while too many wait already, for one user or in all, or while a
user's predictions take too many bytes. Knows no HTTP."""

from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from app.db import queue_counts, storage_use
from app.db.session import Database
from app.domain.errors import QuotaExceeded, TooMany
from app.domain.predictions import lowest_id
from app.services.predictions.kept_amounts import KeptAmounts

KEEP_SECONDS = 1.0
KEEP_BYTES_SECONDS = 5.0
MOST_SUMMED = 100_000  # waiting predictions of one user whose inputs are looked at
RETRY_SECONDS = 5.0
TOO_MANY = "{} of your predictions wait, which is the most you may have."
TOO_MANY_IN_ALL = "In all, {} predictions wait, which is the most this server takes."
TOO_MUCH = (
    "Your predictions keep {} bytes, which is the most you may have: delete some"
    " (DELETE /v1/predictions/…), or ask an administrator (PREDICTION_QUOTA_BYTES)."
)


class TooManyWaiting(TooMany):
    code = "too_many_waiting"


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """Waiting predictions of `each` user and of `all`; `bytes` of one user's predictions that are kept. 0:
    none."""

    each: int = 0
    all: int = 0
    bytes: int = 0


class Backlog:
    """One for each API process, called on its event loop."""

    def __init__(self, database: Database, threads: Executor, limits: BacklogLimits) -> None:
        self._database, self._limits = database, limits
        self._total = KeptAmounts(threads, self._read_total, KEEP_SECONDS)
        self._users = KeptAmounts(threads, self._read_user, KEEP_SECONDS)
        self._bytes = KeptAmounts(threads, self._read_bytes, KEEP_BYTES_SECONDS)

    def admit(self, user_id: UUID | None, size: int) -> None:
        """Counts one more, whose input has `size` bytes. Raises TooManyWaiting, QuotaExceeded. Never
        waits."""
        limits = self._limits
        if limits.bytes and not self._bytes.add(user_id, size, limits.bytes):
            raise QuotaExceeded(TOO_MUCH.format(f"{limits.bytes:,}"))
        if limits.all and not self._total.add(None, 1, limits.all):
            raise _too_many(TOO_MANY_IN_ALL, limits.all)
        if limits.each and not self._users.add(user_id, 1, limits.each):
            raise _too_many(TOO_MANY, limits.each)

    def _read_total(self, _: None, began: int) -> int:
        with self._database.unit() as session:
            return queue_counts.waiting_before(session, lowest_id(began), self._limits.all)

    def _read_user(self, user_id: UUID | None, began: int) -> int:
        with self._database.unit() as session:
            return queue_counts.waiting_of_user(session, user_id, lowest_id(began), self._limits.each)

    def _read_bytes(self, user_id: UUID | None, _: int) -> int:
        with self._database.unit() as session:
            return storage_use.sum_predictions(session, user_id, MOST_SUMMED)


def _too_many(sentence: str, limit: int) -> TooManyWaiting:
    return TooManyWaiting(
        sentence.format(f"{limit:,}") + " Try again when some have started.", retry_after=RETRY_SECONDS
    )
