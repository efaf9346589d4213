"""Whatever the statistics say, what is looked up by an index is read from that index: app/db/planner.py."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import TextClause, event, text

from app.db import claims, deliveries, expiry, prediction_lists, queue_counts, storage_use, sweeps, turns
from app.db.planner import BY_INDEX
from app.db.session import Database
from app.domain.predictions import Status

ENDED = """
    INSERT INTO predictions (id, version_id, model, queue, status, completed_at)
    SELECT '0' || lpad(n::text, 25, '0'), 'v', 'a/b', 'cpu', 'succeeded', now()
    FROM generate_series(1, :number) AS n"""
WAITING = """
    INSERT INTO predictions (id, version_id, model, queue, notified_at)
    SELECT '1' || lpad(n::text, 25, '0'), 'v', 'a/b', 'cpu', now() FROM generate_series(1, :number) AS n"""
END_ALL = "UPDATE predictions SET status = 'succeeded', completed_at = now() WHERE status = 'starting'"
NOW = datetime.now(UTC)
CLAIM = {"worker": uuid4(), "capacity": "{}"}
IDS = [f"1{n:025}" for n in range(1, 65)]
LOOKS: dict[str, tuple[TextClause, dict[str, Any], set[str]]] = {
    "a claim by ids": (claims.BY_IDS, {**CLAIM, "ids": IDS}, {"pkey"}),
    "what still waits of them": (claims.STILL_WAITING, {"ids": IDS}, {"pkey"}),
    "the first of everybody": (
        turns.IN_TURN,
        {"queues": ["cpu", "any"], "most": 1_024, "start": str(uuid4())},
        {"in_turn"},
    ),
    "the first of a queue": (queue_counts.FIRST_IDS, {"queue": "cpu", "most": 1_000}, {"waiting"}),
    "how many wait": (queue_counts.IN_QUEUES, {"queues": ["cpu"], "most": 1_000}, {"waiting"}),
    "a slice of a queue": (sweeps.QUEUE_SLICE, {"queue": "cpu", "after": "", "limit": 500}, {"waiting"}),
    "all that waits": (sweeps.WAITING, {"queue": "", "after": "", "limit": 2_000}, {"waiting"}),
    "the queues": (sweeps.QUEUES_WAITING, {}, {"waiting"}),
    "bytes that a user has waiting": (
        storage_use.WAITING_OF_USER,
        {"user_id": uuid4(), "most": 1_000},
        {"in_turn"},
    ),
    "webhooks that are over": (
        deliveries.FORGET_OLD,
        {"days": 30, "limit": 500},
        {"deliveries_done"},
    ),
    "how late the removal of old data is": (
        expiry.OVERDUE,
        dict.fromkeys(expiry.OLDEST, 0.0),
        {
            "retention",
            "ix_files_expires_at",
            "deliveries_done",
            "idempotency_keys_by_time",
            "audit_log_by_time",
        },
    ),
    "bytes of what has ended just now": (
        storage_use.COUNT,
        {"since": NOW - timedelta(minutes=1), "until": NOW, "nobody": uuid4()},
        {"retention"},
    ),
}
FEW, MANY = 20, 20_000


def fill(database: Database, believed: int, there: int, ended: int = MANY) -> None:
    """`there` predictions wait beside some that have ended; Postgres believes in another number."""
    with database.unit() as session:
        session.execute(text("TRUNCATE predictions CASCADE"))
        session.execute(text(ENDED), {"number": ended})
        session.execute(text(WAITING), {"number": believed})
        session.execute(text("ANALYZE predictions"))
        if there < believed:
            session.execute(text(END_ALL))
        session.execute(text(WAITING.replace("'1'", "'2'")), {"number": there})


@pytest.mark.parametrize(("believed", "there"), [(FEW, MANY), (MANY, FEW)], ids=["a burst", "after a flood"])
def test_stale_statistics_change_no_plan(database: Database, believed: int, there: int) -> None:
    fill(database, believed, there)
    for name, (statement, params, indexes) in LOOKS.items():
        with database.unit() as session:
            settings = "".join(re.findall("SET LOCAL [^;]*; ", statement.text))
            sql = statement.text.removeprefix(settings)
            plan = "\n".join(session.execute(text(f"{settings}EXPLAIN {sql}"), params).scalars())
        scans = re.findall(r"using (?:predictions_)?(\w+)|(Seq Scan|Bitmap Heap Scan) on", plan)
        assert {index or other for index, other in scans} == indexes, f"{name}\n{plan}"


def test_settings_alone_do_not_choose_between_two_indexes(database: Database) -> None:
    """Why the wording is needed: were it not, this would go by `predictions_waiting`."""
    fill(database, MANY, FEW, ended=100)
    sql = (
        "EXPLAIN SELECT id, version_id FROM predictions WHERE status = 'starting' AND queue = 'cpu'"
        f" AND {claims.IS_DUE.format('')} ORDER BY queue, id LIMIT 64"
    )
    with database.unit() as session:
        plan = "\n".join(session.execute(text(BY_INDEX + sql)).scalars())
    assert "using predictions_pkey" in plan


@pytest.mark.parametrize("status", [Status.STARTING, Status.PROCESSING])
def test_a_list_of_what_is_unfinished_does_not_walk_through_what_has_ended(
    database: Database, status: Status
) -> None:
    """Of a user with many predictions, none of which waits, beside a neighbour's flood."""
    user, seen = uuid4(), list[tuple[str, Any]]()
    fill(database, MANY, MANY)
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _, __, sql, params, *more: seen.append((sql, params)),
    )
    with database.unit() as session:
        whose = "UPDATE predictions SET user_id = :user WHERE status = 'succeeded'"
        session.execute(text(whose), {"user": user})
        session.execute(text("ANALYZE predictions"))
        narrowed = prediction_lists.Filter(user, status)
        assert prediction_lists.page(session, narrowed, before=None, after=None, limit=20).predictions == []
        sql, params = seen[-1]
        plan = "\n".join(session.connection().exec_driver_sql(f"EXPLAIN {sql}", params).scalars())
    indexes = set(re.findall(r"(?:using|on) predictions_(\w+)", plan))
    assert indexes, plan
    assert indexes <= {"in_turn", "waiting", "running", "pkey"}, plan
    assert "Backward" not in plan, plan
    assert "Seq Scan" not in plan, plan
