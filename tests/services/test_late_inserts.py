"""Predictions that run before they are written: nothing joins what has waited too long, and tries go on."""

import asyncio

from app.domain.errors import Unavailable
from app.services.predictions import late_inserts
from app.services.predictions.late_inserts import LateInserts, RecordsAtRisk


def test_nothing_joins_what_has_waited_for_a_second() -> None:
    now = 100.0
    risk = RecordsAtRisk(lambda: now)
    assert not risk.is_too_late
    risk.add("a")
    now = 100.9
    risk.add("b")
    risk.add("a")  # it waits since it came first
    assert not risk.is_too_late
    now = 101.1
    assert risk.is_too_late
    risk.discard("a")
    assert not risk.is_too_late


async def test_rows_are_written_together_and_tried_again_while_the_database_is_away(monkeypatch) -> None:
    monkeypatch.setattr(late_inserts, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(late_inserts, "GATHER_SECONDS", 0.0)
    tries = []

    async def insert(row: str) -> None:
        tries.append(row)
        await asyncio.sleep(0)
        if row == "odd":
            raise ValueError(row)
        if len(tries) < 4:
            raise Unavailable("away")

    late = LateInserts(insert)
    written = [late.add(row, "id") for row in ("one", "two", "odd")]
    assert await asyncio.gather(*written) == [True, True, False]
    assert (tries[:3], sorted(tries[3:])) == (["one", "two", "odd"], ["one", "two"])


async def test_what_waits_is_written_at_the_end(monkeypatch) -> None:
    monkeypatch.setattr(late_inserts, "GATHER_SECONDS", 60.0)

    async def insert(row: str) -> None:
        assert row == "last"

    late = LateInserts(insert)
    written = late.add("last", "id")
    await late.close()
    assert written.result()
