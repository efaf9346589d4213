"""Cursors that nobody gave out are refused before a query is made of them."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from app.db.pages import Cursor
from app.domain.errors import InvalidRequest

NOW = "2026-01-01T00:00:00+00:00"
ID = "0" * 32


def written(*fields: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


def test_a_cursor_is_read_as_it_was_written() -> None:
    for cursor, kind in (
        (Cursor(datetime.now(UTC), uuid4(), True), UUID),
        (Cursor(datetime.now(UTC), "ada"), str),
    ):
        assert Cursor.parse(str(cursor), kind) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "é",
        "W10",
        written(NOW, ID),
        written(NOW, "no id", 0),
        written(NOW, 7, 0),
        written(NOW, ID + "\x00", 0),
        written(7, ID, 0),
        written("2026-01-01", ID, 0),
        written("0001-01-01T00:00:00+23:59", ID, 0),
        written({}, [], {}),
    ],
)
def test_any_other_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        Cursor.parse(text, UUID)


def test_a_zone_that_postgres_does_not_know_is_none_when_it_gets_there() -> None:
    assert Cursor.parse(written("2026-01-01T00:00:00+00:00:00.000001", ID, 0), UUID).created_at.tzinfo is UTC
