"""What a deleted account leaves behind is removed, part by part, by the sweeps: predictions that have not
ended are canceled, then the data of all of them goes, and uploaded files.

A part is bounded, and how far it has come is written down, so that the next sweep, or another process, goes
on. Safe to run twice.
"""

from uuid import UUID

from app.db import files, model_uploads, sweeps, users
from app.db.session import Database
from app.services.catalogue.model_uploads import remove_parts
from app.services.predictions.data_removal import DataRemoval
from app.services.predictions.lifecycle import Lifecycle
from app.storage.base import Storage

USERS, PREDICTIONS = 10, 100  # of one part: each prediction may have files that the storage must list
REASON = "Its account was deleted."


class AccountPurge:
    """One for each sweeping process; called by one thread."""

    def __init__(
        self, database: Database, lifecycle: Lifecycle, storage: Storage, removal: DataRemoval
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._storage, self._removal = storage, removal

    def run(self) -> int:
        """The next part of every deleted account. Returns how many predictions lost their data."""
        with self._database.unit() as session:
            pending = users.to_purge(session, USERS)
        return sum(self._purge(user_id, after) for user_id, after in pending)

    def _purge(self, user_id: UUID, after: str) -> int:
        with self._database.unit() as session:
            unfinished = sweeps.unfinished(session, user_id, PREDICTIONS)
            uploads = files.contents_of(session, user_id, PREDICTIONS)
            rows = sweeps.by_user(session, user_id, after, PREDICTIONS)
        if unfinished:
            self._lifecycle.cancel(unfinished, REASON)
        self._remove_uploads(uploads)
        self._remove_model_uploads(user_id)
        ended: list[str] = []
        with_data: list[str] = []
        for prediction_id, has_ended, has_data in rows:
            if not has_ended:  # its worker stops it: a later part goes on from here
                break
            ended.append(prediction_id)
            with_data += [prediction_id] if has_data else []
        self._removal.remove_all(with_data)
        with self._database.unit() as session:
            if ended:
                users.set_purged(session, user_id, ended[-1])
            elif not rows and not uploads:
                users.finish_purge(session, user_id)
        return len(with_data)

    def _remove_model_uploads(self, user_id: UUID) -> None:
        """Those of which somebody else's version is made stay until it is deleted."""
        with self._database.unit() as session:
            ids = model_uploads.list_of_user(session, user_id, PREDICTIONS)
            unused = [each for each in ids if not model_uploads.is_used(session, each)]
            model_uploads.remove(session, unused)
        remove_parts(self._storage, unused)

    def _remove_uploads(self, uploads: list[tuple[str, str]]) -> None:
        if uploads:
            self._storage.delete([key for _, key in uploads])
            with self._database.unit() as session:
                files.forget(session, [file_id for file_id, _ in uploads])
