"""Minutes of statistics and days of usage: written once for each minute, right in sum, each user's own."""

import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.composition_core import Core
from app.db import statistics
from app.domain.predictions import new_id
from app.domain.statistics import Counts, Minute, QueueMinute, points, quantile, upper_bound
from app.services.platform.statistics import record_minutes


def bucket(seconds: float) -> int:
    """As the statement computes it."""
    return max(0, math.ceil(2 * math.log2(seconds / 0.001)))


def test_a_quantile_is_right_to_within_a_fifth() -> None:
    durations = [0.02 * 1.07**number for number in range(100)]
    counted: dict[int, int] = {}
    for each in durations:
        counted[bucket(each)] = counted.get(bucket(each), 0) + 1
    for share in (0.5, 0.95):
        right = durations[int(share * 100) - 1]
        assert quantile(counted, share) == pytest.approx(right, rel=0.2)
    assert quantile({}, 0.5) is None
    assert upper_bound(bucket(3.0)) >= 3.0 > upper_bound(bucket(3.0) - 1)


def test_minutes_become_points_and_a_point_without_a_record_says_so() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    begin = int(at.timestamp())
    minutes = [Minute(at + timedelta(minutes=n), Counts(succeeded=n, seconds={4: n})) for n in range(3)]
    queue = [QueueMinute(at + timedelta(minutes=n), waiting=n, running=1) for n in range(2)]
    first, second = points(minutes, queue, begin, begin + 240, 120)
    assert (first.counts.succeeded, first.counts.seconds, first.waiting) == (1, {4: 1}, 1)
    assert (second.counts.succeeded, second.waiting, second.running) == (2, None, None)


@pytest.fixture
def ended(core: Core, ada):
    """Writes a prediction of Ada's that ended two minutes ago, in a batch of two; statistics were written
    last ten minutes ago."""
    insert = text("""
        INSERT INTO predictions (id, user_id, version_id, model, status, queue, metrics, created_at,
                                 started_at, completed_at)
        SELECT :id, :user, 'v', 'ada/echo', :status, 'cpu', '{"batch_size": 2}', at - interval '4 s',
               at - interval '2 s', at
        FROM (SELECT date_trunc('minute', now()) - interval '100 s' AS at) AS ended""")

    with core.database.unit() as session:
        before = "INSERT INTO queue_minutes VALUES (date_trunc('minute', now()) - interval '10 min', 0, 0)"
        session.execute(text(before))

    def write(status: str = "succeeded") -> None:
        row = {"id": new_id(time.time_ns() // 1_000_000), "user": ada.id, "status": status}
        with core.database.unit() as session:
            session.execute(insert, row)

    return write


def test_a_minute_that_is_over_is_written_once_and_counted_in_its_day(core: Core, ada, bob, ended) -> None:
    ended()
    ended("failed")
    record_minutes(core.database)
    record_minutes(core.database)
    series = ada.http.get("/v1/statistics", params={"window": "15m"}).json()
    assert (series["step_seconds"], len(series["points"])) == (60, 15)
    [point] = [point for point in series["points"] if point["succeeded"]]
    assert (point["succeeded"], point["failed"]) == (1, 1)
    assert point["p50"] == pytest.approx(4, rel=0.4)
    assert [point["waiting"] for point in series["points"]].count(0) >= 1
    [day] = ada.http.get("/v1/usage").json()["results"]
    assert (day["model"], day["username"], day["succeeded"], day["failed"]) == ("ada/echo", "ada", 1, 1)
    assert day["device_seconds"] == pytest.approx(2)  # two of two seconds each, each half a batch
    assert sum(each["succeeded"] for each in bob.http.get("/v1/statistics").json()["points"]) == 0
    assert bob.http.get("/v1/usage").json()["results"] == []


def test_a_models_runs_are_added_up_with_the_minutes(core: Core, ada, bob, echo, ended) -> None:
    assert ada.http.get("/v1/models/ada/echo").json()["run_count"] == 0
    ended()
    ended("failed")
    for _ in range(2):
        record_minutes(core.database)
        assert bob.http.get("/v1/models/ada/echo").json()["run_count"] == 2
        assert [each["run_count"] for each in ada.http.get("/v1/models").json()["results"]] == [2]
    with core.database.unit() as session:
        plan = session.execute(text(f"EXPLAIN {statistics.RUNS.text}"), {"models": ["ada/echo"]}).scalars()
        assert "predictions" not in "".join(plan), "it is looked up, not counted"


def test_everybodys_usage_is_for_administrators(core: Core, ada, admin, ended) -> None:
    ended()
    record_minutes(core.database)
    assert ada.http.get("/v1/usage", params={"everybody": "true"}).status_code == 403
    [day] = admin.http.get("/v1/usage", params={"everybody": "true"}).json()["results"]
    assert day["username"] == "ada"
    assert sum(each["succeeded"] for each in admin.http.get("/v1/statistics").json()["points"]) == 1


@pytest.mark.parametrize("window", ["0m", "3d", "soon", "59s"])
def test_a_window_that_is_none_is_refused(ada, window) -> None:
    answer = ada.http.get("/v1/statistics", params={"window": window})
    assert answer.json()["invalid_fields"][0]["field"] == "window"


def test_settings_are_for_administrators_and_show_no_secret(ada, admin) -> None:
    assert ada.http.get("/v1/settings").status_code == 403
    settings = {each["name"]: each for each in admin.http.get("/v1/settings").json()["results"]}
    assert settings["SECRET_KEY"]["value"] == "(set)"
    assert "://lovage:…@127.0.0.1:" in settings["DATABASE_URL"]["value"]
    assert (settings["SESSION_DAYS"]["value"], settings["SESSION_DAYS"]["origin"]) == ("14.0", "default")
    telling = [name for name in settings if "SECRET" in name or name.endswith(("TOKEN", "PASSWORD", "AUTH"))]
    assert {settings[name]["value"] for name in telling} <= {"", "(set)"}


def test_lanes_count_what_waits_by_queue_model_and_user(ada, bob, admin, echo) -> None:
    for person, number in ((ada, 2), (bob, 1)):
        for _ in range(number):
            person.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}})
    assert ada.http.get("/v1/queue").status_code == 403
    lanes = admin.http.get("/v1/queue").json()
    assert lanes["complete"]
    assert [(each["name"], each["waiting"]) for each in lanes["users"]] == [("ada", 2), ("bob", 1)]
    assert [(each["name"], each["waiting"]) for each in lanes["models"]] == [("ada/echo", 3)]
    assert sum(each["waiting"] for each in lanes["queues"]) == 3
