"""What is kept for a time and then removed: uploaded files, data of predictions and of deleted accounts,
webhooks that were delivered or given up, idempotency keys, the audit log. And how much is kept.

Each kind is a step with transactions of its own: one that fails, or takes too long, keeps no other from its
turn. A step is bounded, and a later sweep goes on. Safe to run twice.
"""

from collections.abc import Callable

import structlog

from app.db import audit, deliveries, expiry, files, idempotency, model_uploads, storage_use, sweeps
from app.db.session import Database
from app.domain.errors import StorageFailed, Unavailable
from app.domain.model_uploads import UNUSED_HOURS
from app.services.catalogue.model_uploads import remove_parts
from app.services.idempotency import KEEP_HOURS as KEEP_KEYS_HOURS
from app.services.predictions.data_removal import DataRemoval
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.purge import AccountPurge
from app.storage.base import Storage

log = structlog.get_logger(__name__)

LIMIT = 500  # rows a step takes at once
KEEP_DELIVERIES_DAYS = 30  # of webhooks that were delivered or given up


def retention_by_kind(retention_hours: float, audit_days: int) -> expiry.RetentionHours:
    """What is kept for how long; what is kept for ever is left out."""
    hours_of = {
        "predictions": retention_hours,
        "audit": audit_days * 24.0,
        "webhooks": KEEP_DELIVERIES_DAYS * 24.0,
        "idempotency_keys": float(KEEP_KEYS_HOURS),
        "files": None,  # each has a time of its own
    }
    return {kind: hours for kind, hours in hours_of.items() if hours != 0}


class Expiry:
    """One for each sweeping process; called by one thread. `retention_hours`, `audit_days`: 0 keeps."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        storage: Storage,
        retention_hours: float,
        audit_days: int,
    ) -> None:
        self._database, self._storage = database, storage
        self._removal = DataRemoval(database, lifecycle, storage)
        self._purge = AccountPurge(database, lifecycle, storage, self._removal)
        self._retention_hours, self._audit_days = retention_hours, audit_days

    def run(self) -> None:
        """Every step once, unless another process is at it."""
        steps: list[Callable[[], object]] = [
            self.expire_predictions,
            self._expire_files,
            self._remove_unused_uploads,
            self._count_stored,
            self._purge.run,
            lambda: self._removal.finish_removals(LIMIT),
            self._expire_deliveries,
            self._expire_keys,
            self._expire_audit,
        ]
        try:
            with self._database.unit() as session:
                if sweeps.lock_sweep(session, sweeps.EXPIRY_KEY):
                    for step in steps:
                        _try(step)
        except Unavailable as error:  # also for steps that took longer than the lock lasts
            log.warning("expiry_lock_lost", reason=error.detail)

    def expire_predictions(self) -> int:
        """Data older than the retention time. Returns how many predictions lost theirs."""
        if not self._retention_hours:
            return 0
        with self._database.unit() as session:
            ids = sweeps.expired(session, self._retention_hours, LIMIT)
        return self._removal.remove_all(ids)

    def _expire_files(self) -> None:
        """Uploaded files past their time: first the content, then the row, so that a failure in between is
        tried again."""
        with self._database.unit() as session:
            expired = files.expired(session, LIMIT)
        if not expired:
            return
        self._storage.delete([key for _, key in expired])
        with self._database.unit() as session:
            files.forget(session, [file_id for file_id, _ in expired])
        log.info("files_expired", count=len(expired))

    def _remove_unused_uploads(self) -> None:
        """Models that were uploaded and of which no version is made, or none any more: the rows first, for
        what has none any more cannot be registered."""
        with self._database.unit() as session:
            unused = model_uploads.unused(session, UNUSED_HOURS, LIMIT)
            model_uploads.remove(session, unused)
        remove_parts(self._storage, unused)
        if unused:
            log.info("model_uploads_removed", count=len(unused))

    def _count_stored(self) -> None:
        """Of everybody's predictions, for the quotas; before they are gone."""
        with self._database.unit() as session:
            storage_use.count_predictions(session)

    def _expire_deliveries(self) -> None:
        with self._database.unit() as session:
            deliveries.forget_old(session, KEEP_DELIVERIES_DAYS, LIMIT)

    def _expire_keys(self) -> None:
        with self._database.unit() as session:
            idempotency.forget(session, KEEP_KEYS_HOURS, LIMIT)

    def _expire_audit(self) -> None:
        if self._audit_days:
            with self._database.unit() as session:
                audit.forget(session, self._audit_days, LIMIT)


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except (StorageFailed, Unavailable) as error:
        log.warning("expiry_later", step=getattr(step, "__qualname__", ""), reason=error.detail)
