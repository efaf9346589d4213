"""Predictions that run before they are written: nothing joins what has waited too long, and tries go on."""

import asyncio

from app.domain.errors import Unavailable
from app.services.predictions import late_inserts
from app.services.predictions.late_inserts import RecordsAtRisk, insert_late


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


async def test_a_row_is_tried_again_while_the_database_is_away(monkeypatch) -> None:
    monkeypatch.setattr(late_inserts, "RETRY_SECONDS", 0.0)
    tries = []

    async def insert(row: str) -> None:
        tries.append(row)
        await asyncio.sleep(0)
        if len(tries) < 3:
            raise Unavailable("away")

    assert await insert_late(insert, "row", "id")
    assert tries == ["row"] * 3

    async def refuse(row: str) -> None:
        raise ValueError(row)

    assert not await insert_late(refuse, "row", "id")
