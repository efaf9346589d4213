"""An answer tells the truth about what was recorded: behind a 503 on a create nothing runs."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg2
import pytest
from waiting import eventually

from app.db import circuit_breaker

ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECONDS", "STATEMENT_SECONDS"):
        monkeypatch.setattr(circuit_breaker, name, 0.4)


def answered(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer that is no 503: so impatient, the API gives up on a busy machine as well."""
    return eventually(lambda: (answer := call()).status_code != 503 and answer)


@contextmanager
def inserts_wait(url: str) -> Iterator[Any]:
    """As behind a disk that stands still."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.cursor().execute("LOCK TABLE predictions IN SHARE ROW EXCLUSIVE MODE")
    try:
        yield connection
    finally:
        connection.close()


def release_later(url: str, connection: Any) -> None:
    """The statement goes on just after its caller was answered, before Postgres looks for its client."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'predictions'::regclass"
    other = psycopg2.connect(url.replace("+psycopg2", ""))
    other.autocommit = True
    cursor = other.cursor()
    eventually(lambda: cursor.execute(waiting) or cursor.fetchone() != (0,))
    other.close()
    time.sleep(0.45)
    connection.rollback()


def test_an_insert_whose_answer_was_lost_is_canceled_when_it_turns_out_to_be_recorded(
    ada, echo, api_settings
) -> None:
    """Seven of seven calls were answered 503, and behind two of them 128 predictions were on record and
    ran."""
    with inserts_wait(api_settings.database_url) as connection:
        release = threading.Thread(target=release_later, args=(api_settings.database_url, connection))
        release.start()
        answer = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}})
        release.join()
    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    assert int(answer.headers["retry-after"]) >= 1
    [named] = set(ID.findall(answer.json()["detail"]))
    found = answered(lambda: ada.http.get(f"/v1/predictions/{named}"))
    if found.status_code == 200:  # else Postgres was quicker to see that nobody waits for it
        eventually(lambda: ada.http.get(f"/v1/predictions/{named}").json().get("status") == "canceled")
    listed = answered(lambda: ada.http.get("/v1/predictions")).json()["results"]
    assert all(each["status"] == "canceled" for each in listed)


def test_a_statement_that_nobody_waits_for_any_more_is_ended(ada, echo, api_settings) -> None:
    with inserts_wait(api_settings.database_url):
        answer = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}})
        assert answer.json()["code"] == "outcome_unknown"
        time.sleep(1.5)  # Postgres looks twice a second
    assert answered(lambda: ada.http.get("/v1/predictions")).json()["results"] == []


def test_with_a_key_the_same_request_finds_what_was_recorded(ada, echo, api_settings) -> None:
    asked: dict[str, Any] = {
        "json": {"version": "ada/echo", "input": {}},
        "headers": {"Idempotency-Key": "k"},
    }
    with inserts_wait(api_settings.database_url):
        answer = ada.http.post("/v1/predictions", **asked)
    assert answer.json()["code"] == "outcome_unknown"
    assert "Idempotency-Key" in answer.json()["detail"]
    again = [answered(lambda: ada.http.post("/v1/predictions", **asked)).json() for _ in "ab"]
    assert (again[0]["id"], again[0]["status"]) == (again[1]["id"], "starting")


@pytest.fixture
def commits_wait(api_settings) -> Iterator[None]:
    """Of whoever writes a model."""
    connection = psycopg2.connect(api_settings.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(
        """
        CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON models DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_at_commit()"""
    )
    yield
    cursor.execute("DROP TRIGGER wait_at_commit ON models; DROP FUNCTION wait_at_commit()")
    connection.close()


def test_of_anything_else_it_is_said_that_the_outcome_is_unknown_and_that_one_should_look(
    ada, commits_wait: None
) -> None:
    """The transaction was sent to be committed; nobody here knows whether it is."""
    answer = ada.http.post("/v1/models", json={"name": "m"})
    assert (answer.status_code, answer.json()["code"]) == (503, "outcome_unknown")
    assert "Look before you repeat it" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) >= 1


def test_what_was_not_sent_to_be_committed_is_not_said_to_be_unknown(ada, echo, api_settings) -> None:
    with inserts_wait(api_settings.database_url) as connection:
        connection.cursor().execute("LOCK TABLE models IN ACCESS EXCLUSIVE MODE")
        answer = ada.http.get("/v1/models/ada/echo")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
