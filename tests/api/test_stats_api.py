"""A version's statistics: the right numbers, over the right predictions, for the right people."""

import itertools
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from app.api.rest.stats import window_seconds
from app.db import version_stats
from app.domain.phases import PHASES
from app.domain.predictions import new_id

numbers = itertools.count(1)


@pytest.fixture
def ended(database, echo):
    """Writes predictions of Ada's echo that ended `ago` seconds ago."""
    insert = text("""
        INSERT INTO predictions (id, version_id, model, status, error_code, queue, metrics, created_at,
                                 started_at,
                                 completed_at,
                                 data_removed_at)
        SELECT :id, :version, 'ada/echo', :status, :error_code, 'cpu', CAST(:metrics AS json),
               e.at - :total * interval '1 s',
               e.at - (:total - :queue) * interval '1 s', e.at, CASE WHEN :removed THEN e.at END
        FROM (SELECT now() - :ago * interval '1 s' AS at) AS e""")

    def write(
        *,
        status="succeeded",
        ago=60.0,
        total=1.0,
        queue=0.0,
        error_code=None,
        version="",
        removed=False,
        **metrics,
    ) -> None:
        row = {
            "id": new_id(int(time.time() * 1000) + next(numbers)),
            "version": version or echo["latest_version"]["id"],
            "status": status,
            "error_code": error_code,
            "metrics": json.dumps(metrics),
            "ago": ago,
            "total": total,
            "queue": queue,
            "removed": removed,
        }
        with database.unit() as session:
            session.execute(insert, row)

    return write


def path(echo: dict[str, Any]) -> str:
    return f"/v1/models/ada/echo/versions/{echo['latest_version']['id']}/stats"


def test_phases_rates_batches_and_errors_are_summed_up(ada, echo, ended) -> None:
    for number in range(1, 101):
        measured = {"load": 0.1, "batch_wait": 0.2, "tokenise": 0.0, "run": number / 100, "post": 0.05}
        ended(total=2.0, queue=0.4, batch_size=4, padding=0.25, device="cpu", **measured)
    ended(status="failed", error_code="run_timeout", run=9.0, batch_size=1, padding=0.0, device="cpu")
    ended(status="failed", error_code="worker_crashed")
    ended(status="canceled")
    answer = ada.http.get(path(echo)).raise_for_status().json()
    assert answer["predictions"] == 103
    assert answer["statuses"] == {"succeeded": 100, "failed": 2, "canceled": 1}
    assert answer["errors"] == {"run_timeout": 1, "worker_crashed": 1}
    assert answer["devices"] == {"cpu": 101}
    assert answer["per_second"] == pytest.approx(103 / 3600, rel=0.01)
    assert answer["complete"] is True
    seconds = answer["seconds"]
    assert set(seconds) == {*PHASES, "total"}
    assert seconds["run"] == {"p50": 0.505, "p95": 0.9505, "p99": 0.9901}, "of the succeeded ones only"
    assert seconds["queue"]["p99"] == pytest.approx(0.4)
    assert seconds["store"]["p50"] == pytest.approx(2.0 - 0.4 - 0.1 - 0.2 - 0.505 - 0.05)
    assert seconds["total"]["p50"] == pytest.approx(2.0)
    one, four = answer["batches"]["sizes"]
    assert (one["from"], one["to"], one["predictions"], one["batches"]) == (1, 1, 1, 1)
    assert (four["from"], four["to"], four["predictions"], four["batches"]) == (3, 4, 100, 25)
    assert answer["batches"]["mean_size"] == pytest.approx(101 / 26, abs=0.001)
    assert answer["padding"]["mean"] == pytest.approx(0.25 * 100 / 101, abs=0.0001)


def test_only_this_version_in_this_window_counts(ada, echo, ended) -> None:
    ended(run=0.5)
    ended(run=0.5, ago=1800)
    ended(run=0.5, version="f" * 64)
    ended(run=0.5, removed=True)
    ada.run("ada/echo", text="still waiting")

    def count(**params: str) -> int:
        return int(ada.http.get(path(echo), params=params).raise_for_status().json()["predictions"])

    assert count() == 2
    assert count(window="15m") == 1
    assert count(window="1s") == 0


def test_nothing_ended_is_no_error(ada, echo) -> None:
    answer = ada.http.get(path(echo)).raise_for_status().json()
    assert answer["predictions"] == 0
    assert answer["seconds"]["run"] is None
    assert answer["batches"] == {"mean_size": None, "sizes": []}


def test_a_large_sample_is_bounded_and_says_so(ada, echo, ended, monkeypatch) -> None:
    monkeypatch.setattr(version_stats, "SAMPLE", 10)
    for number in range(20):
        ended(run=0.5, ago=100.0 - number)
    answer = ada.http.get(path(echo)).raise_for_status().json()
    assert (answer["predictions"], answer["complete"]) == (10, False)
    assert answer["per_second"] == pytest.approx(10 / 90, rel=0.2), (
        "over the time that the sample reaches back"
    )


def test_a_busy_fleet_bounds_the_look_too(ada, echo, ended, monkeypatch) -> None:
    monkeypatch.setattr(version_stats, "LOOKED_AT", 10)
    ended(run=0.5, ago=500)
    for number in range(20):
        ended(run=0.5, ago=100.0 - number, version="f" * 64)
    answer = ada.http.get(path(echo)).raise_for_status().json()
    assert (answer["predictions"], answer["complete"]) == (0, False)


def test_they_are_the_owners_and_the_operators(ada, bob, admin, anonymous, echo) -> None:
    assert ada.http.get(path(echo)).status_code == 200
    assert admin.http.get(path(echo)).status_code == 200
    refused = bob.http.get(path(echo))
    assert refused.status_code == 403
    assert "owner" in refused.json()["detail"]
    assert anonymous.get(path(echo)).status_code == 401
    ada.http.patch("/v1/models/ada/echo", json={"visibility": "private"}).raise_for_status()
    assert bob.http.get(path(echo)).status_code == 404, "a private model does not exist for others"
    assert ada.http.get("/v1/models/ada/echo/versions/" + "0" * 64 + "/stats").status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {"window": ""},
        {"window": "x"},
        {"window": "0s"},
        {"window": "31d"},
        {"window": "1h", "since": "2026-11-01T00:00:00Z"},
        {"since": "2001-01-01T00:00:00Z"},
        {"since": "2999-01-01T00:00:00Z"},
        {"since": "yesterday"},
    ],
)
def test_wrong_windows_are_named(ada, echo, params: dict[str, str]) -> None:
    answer = ada.http.get(path(echo), params=params)
    assert answer.status_code == 422
    assert any(name in answer.json()["detail"] for name in params)


def test_since_is_a_window_that_ends_now() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert window_seconds(None, datetime(2026, 11, 21, 11, 59, tzinfo=UTC), now) == 60
    assert window_seconds(None, datetime(2026, 11, 21, 11, 59), now) == 60, "without a zone it is UTC"
    assert window_seconds("2d", None, now) == 172_800
    assert window_seconds(None, None, now) == 3_600
