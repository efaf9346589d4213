"""How many bytes of each user are kept: uploads to the byte, predictions' data as far as it is counted.

Uploads are counted in the transactions that write and delete their rows. Of predictions a sweep counts
those that have ended since it last did (`count_predictions`), so that no insert and no end of one costs
anything; their removal takes the bytes off again. Nothing here commits."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import platform_facts
from app.db.planner import by_index
from app.db.statistics import NOBODY

LATE_SECONDS = 5  # for the commits of what has ended just now
LONGEST_STEP = timedelta(minutes=60)  # counted at once after the sweep stood still
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# Of one prediction: its input, its output and the files that its output names.
BYTES = "coalesce(input_bytes, 0)::bigint + coalesce(output_bytes, 0) + coalesce(file_bytes, 0)"
HAS_DATA = "completed_at IS NOT NULL AND data_removed_at IS NULL"
COUNTED = "SELECT (value ->> 'until')::timestamptz FROM platform_facts WHERE name = 'storage_counted'"

ADD_UPLOAD = text("""
    INSERT INTO storage_use AS u (user_id, upload_bytes) VALUES (:user_id, :size)
    ON CONFLICT (user_id) DO UPDATE SET upload_bytes = u.upload_bytes + excluded.upload_bytes
        WHERE :most = 0 OR u.upload_bytes + excluded.upload_bytes <= :most
    RETURNING u.upload_bytes""")


def add_upload(session: Session, user_id: UUID, size: int, most: int) -> bool:
    """Counts a file; False, and nothing counted, when the user's files would have more than `most` bytes
    (0: no limit)."""
    if most and size > most:
        return False
    params = {"user_id": user_id, "size": size, "most": most}
    return session.execute(ADD_UPLOAD, params).first() is not None


REMOVE_UPLOADS = text("""
    UPDATE storage_use AS u SET upload_bytes = greatest(0, u.upload_bytes - freed.bytes)
    FROM (SELECT user_id, sum(size) AS bytes FROM files WHERE id = ANY(:ids) GROUP BY user_id) AS freed
    WHERE u.user_id = freed.user_id""")


def remove_uploads(session: Session, ids: Sequence[str]) -> None:
    """To be called before the rows are deleted."""
    session.execute(REMOVE_UPLOADS, {"ids": list(ids)})


LOCK = text(f"{COUNTED} FOR UPDATE")
MOMENT = text("SELECT now() - :late * interval '1 s'")
COUNT = by_index(f"""
    INSERT INTO storage_use AS u (user_id, prediction_bytes)
    SELECT coalesce(user_id, :nobody), sum({BYTES}) FROM predictions
    WHERE {HAS_DATA} AND completed_at >= :since AND completed_at < :until
    GROUP BY 1 HAVING sum({BYTES}) > 0
    ON CONFLICT (user_id) DO UPDATE SET prediction_bytes = u.prediction_bytes + excluded.prediction_bytes""")


def count_predictions(session: Session) -> None:
    """Adds what has ended since the last call. Waits for removals under way, and keeps others waiting: each
    sees what the other has done."""
    since: datetime | None = session.scalar(LOCK)
    until: datetime = session.execute(MOMENT, {"late": LATE_SECONDS}).scalar_one()
    until = min(until, since + LONGEST_STEP) if since else until
    session.execute(COUNT, {"since": since or BEGINNING, "until": until, "nobody": NOBODY})
    platform_facts.put(session, "storage_counted", {"until": until.isoformat()})


SHARE = text(f"{COUNTED} FOR SHARE")
STORED = text(f"""
    SELECT coalesce(user_id, :nobody) AS user_id, {BYTES} AS bytes FROM predictions
    WHERE id = ANY(:ids) AND {HAS_DATA} AND completed_at < :counted
    ORDER BY id FOR UPDATE""")
FREE = text("""
    UPDATE storage_use SET prediction_bytes = greatest(0, prediction_bytes - :bytes)
    WHERE user_id = :user_id""")


def remove_predictions(session: Session, ids: Sequence[str]) -> None:
    """To be called before the rows are emptied: takes off what of them was counted."""
    counted: datetime = session.scalar(SHARE) or BEGINNING
    freed: dict[UUID, int] = {}
    for row in session.execute(STORED, {"ids": sorted(ids), "counted": counted, "nobody": NOBODY}):
        freed[row.user_id] = freed.get(row.user_id, 0) + row.bytes
    for user_id in sorted(freed):
        session.execute(FREE, {"user_id": user_id, "bytes": freed[user_id]})


UPLOADS = text("SELECT upload_bytes FROM storage_use WHERE user_id = :user_id")
PREDICTIONS = text("SELECT prediction_bytes FROM storage_use WHERE user_id = :user_id")
_WAITING = """
    SELECT coalesce(sum(input_bytes), 0)::bigint FROM (
        SELECT input_bytes FROM predictions WHERE status = 'starting' AND {} LIMIT :most) AS waiting"""
WAITING_OF_USER = by_index(_WAITING.format("user_id = :user_id"))
WAITING_OF_ANONYMOUS = by_index(_WAITING.format("user_id IS NULL"))


def sum_uploads(session: Session, user_id: UUID) -> int:
    """Bytes of a user's uploaded files."""
    return int(session.scalar(UPLOADS, {"user_id": user_id}) or 0)


def sum_predictions(session: Session, user_id: UUID | None, most: int) -> int:
    """Bytes of a user's (None: of anonymous callers') predictions that have ended and are counted, and of
    at most `most` that wait."""
    stored = session.scalar(PREDICTIONS, {"user_id": user_id or NOBODY}) or 0
    if user_id is None:
        return int(stored) + int(session.scalar(WAITING_OF_ANONYMOUS, {"most": most}) or 0)
    return int(stored) + int(session.scalar(WAITING_OF_USER, {"user_id": user_id, "most": most}) or 0)


LOCK_USER = text("SELECT FROM users WHERE id = :user_id FOR NO KEY UPDATE")
MODELS = text("""
    SELECT coalesce(sum(bytes), 0)::bigint FROM (
        SELECT max(v.source_bytes) AS bytes FROM versions AS v JOIN models AS m ON m.id = v.model_id
        WHERE v.created_by = :user_id AND v.deleted_at IS NULL AND m.deleted_at IS NULL
              AND v.source <> :without
        GROUP BY v.source) AS sources""")


def sum_models(session: Session, user_id: UUID, without: str = "") -> int:
    """Bytes of the files of the sources of a user's versions, each source once, but for one of them. Until
    the transaction ends nobody else counts this user's."""
    session.execute(LOCK_USER, {"user_id": user_id})
    return int(session.scalar(MODELS, {"user_id": user_id, "without": without}) or 0)
