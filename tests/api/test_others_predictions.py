"""What administrators see of anybody's predictions, how lists are narrowed, what of a query is refused."""

from typing import Any
from uuid import uuid4

import pytest
from api_people import Person, Server
from sqlalchemy import text
from waiting import eventually

from app.db import prediction_lists
from app.domain.predictions import Prediction, Status
from app.services.predictions.attempts import Ending


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["results"]]


def listed(person: Person, **params: Any) -> list[str]:
    return ids(person.http.get("/v1/predictions", params=params))


def audited(admin: Person, action: str) -> list[str]:
    entries = admin.http.get("/v1/audit", params={"action": action}).json()["results"]
    return [each["target"] for each in entries]


def test_an_administrator_lists_and_reads_anybodys_and_the_audit_log_keeps_it(ada, bob, admin, echo) -> None:
    of_ada, of_bob = (person.run("ada/echo", text="x")["id"] for person in (ada, bob))
    assert listed(admin, user="ada") == [of_ada]
    everybody = admin.http.get("/v1/predictions", params={"user": "*"}).json()["results"]
    assert [(each["id"], each["user"]) for each in everybody] == [(of_bob, "bob"), (of_ada, "ada")]
    for _ in range(2):
        assert admin.http.get(f"/v1/predictions/{of_bob}").json()["id"] == of_bob
        assert admin.http.get(f"/v1/predictions/{of_bob}/deliveries").json()["results"] == []
        events = admin.http.get(f"/v1/predictions/{of_bob}/events").json()["results"]
        assert [each["event"] for each in events] == ["accepted"]
    eventually(lambda: audited(admin, "prediction.read") == [of_bob])
    assert audited(admin, "predictions.listed") == ["*", "ada"]


def test_nobody_else_does(ada, bob, make_person, echo) -> None:
    of_bob = bob.run("ada/echo", text="x")["id"]
    for path in ("", "/events", "/deliveries/any/body"):
        assert ada.http.get(f"/v1/predictions/{of_bob}{path}").status_code == 404
    for user in ("bob", "*", "anonymous", "nobody"):
        assert ada.http.get("/v1/predictions", params={"user": user}).status_code == 403
    assert listed(bob, user="bob") == [of_bob], "one's own name is no other's"
    lesser = make_person("deputy", admin=True, scopes=("predict",))
    assert lesser.http.get(f"/v1/predictions/{of_bob}").status_code == 404
    assert lesser.http.post(f"/v1/predictions/{of_bob}/requeue").status_code == 403


def test_a_user_that_does_not_exist_is_named(admin) -> None:
    answer = admin.http.get("/v1/predictions", params={"user": "nemo"})
    assert (answer.status_code, "'nemo'" in answer.json()["detail"]) == (404, True)


@pytest.fixture
def five(database, ada, echo) -> list[str]:
    """Predictions that differ in all that lists are narrowed by, the oldest first."""
    made = [ada.run("ada/echo", text=f"word{number}")["id"] for number in range(5)]
    changes = {
        0: "source = 'openai'",
        1: 'routing = \'{"deployment": "ada/dep"}\'',
        2: "error_code = 'run_timeout', error = 'Ran TOO long', status = 'failed', completed_at = now()",
        3: "created_at = now() - interval '3 hours'",
        4: f"version_id = '{'e' * 64}'",
    }
    with database.unit() as session:
        for number, change in changes.items():
            session.execute(text(f"UPDATE predictions SET {change} WHERE id = :id"), {"id": made[number]})
    return made


@pytest.mark.parametrize(
    ("narrowed", "numbers"),
    [
        ({"source": "openai"}, [0]),
        ({"deployment": "ada/dep"}, [1]),
        ({"error_code": "run_timeout"}, [2]),
        ({"text": "too LONG"}, [2]),
        ({"text": "WORD3"}, [3]),
        ({"text": "nothing of the kind"}, []),
        ({"version": "e" * 64}, [4]),
        ({"since": "1h"}, [4, 2, 1, 0]),
        ({"until": "1h"}, [3]),
        ({"status": "failed", "text": "word"}, [2]),
    ],
)
def test_lists_are_narrowed(ada, admin, five, narrowed: dict[str, str], numbers: list[int]) -> None:
    expected = [five[number] for number in numbers]
    assert listed(ada, **narrowed) == expected
    assert listed(admin, user="*", **narrowed) == expected


def test_a_list_that_must_look_through_many_goes_on_from_page_to_page(ada, five, monkeypatch) -> None:
    monkeypatch.setattr(prediction_lists, "LOOKED_AT", 2)
    found, pages, url = [], 0, "/v1/predictions?text=word1&limit=10"
    while url:
        page = ada.http.get(url).json()
        found += [each["id"] for each in page["results"]]
        url, pages = page["next"], pages + 1
    assert (found, pages) == ([five[1]], 3)


@pytest.mark.parametrize(
    ("path", "named", "hint"),
    [
        ("/v1/predictions?stauts=failed", "stauts", "status"),
        ("/v1/predictions?colour=red", "colour", "created_after"),
        ("/v1/models?owner=ada", "owner", "cursor"),
        ("/v1/predictions/01kam7vn3c9x0r2f4h6j8m0p2s?wait=3", "wait", "none"),
        ("/v1/audit?who=ada", "who", "username"),
        ("/v1/predictions?since=soon", "since", "24h"),
        ("/v1/predictions?since=1h&created_after=2026-01-01T00:00:00Z", "since", "created_after"),
    ],
)
def test_what_nothing_reads_of_a_query_is_refused_by_name(admin, path: str, named: str, hint: str) -> None:
    answer = admin.http.get(path)
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["detail"]
    assert hint in answer.json()["detail"]


def claim(api: Server, prediction_id: str) -> list[Prediction]:
    return api.services.lifecycle.claim([prediction_id], uuid4(), {}).predictions


def finish(api: Server, prediction: Prediction) -> Prediction | None:
    assert prediction.worker is not None
    fence = (prediction.id, prediction.attempt, prediction.worker)
    return api.services.lifecycle.finish([Ending(*fence, Status.SUCCEEDED)])[0]


def test_a_running_prediction_that_is_requeued_waits_again_and_its_attempt_records_nothing(
    api, ada, admin, echo
) -> None:
    made = ada.run("ada/echo", text="x")["id"]
    [claimed] = claim(api, made)
    answer = admin.http.post(f"/v1/predictions/{made}/requeue").json()
    assert (answer["id"], answer["status"]) == (made, "starting")
    assert finish(api, claimed) is None
    [again] = claim(api, made)
    assert again.attempt == claimed.attempt + 1
    ended = finish(api, again)
    assert ended is not None
    assert ended.status is Status.SUCCEEDED
    refused = admin.http.post(f"/v1/predictions/{made}/requeue")
    assert (refused.status_code, "rerun" in refused.json()["detail"]) == (409, True)
    eventually(lambda: audited(admin, "prediction.requeued") == [made])


def test_one_that_waits_out_a_delay_is_requeued_at_once(api, ada, admin, echo, database) -> None:
    made = ada.run("ada/echo", text="x")["id"]
    with database.unit() as session:
        session.execute(text("UPDATE predictions SET run_after = now() + interval '1 hour'"))
    assert claim(api, made) == []
    assert admin.http.post(f"/v1/predictions/{made}/requeue").status_code == 200
    assert [each.id for each in claim(api, made)] == [made]


def test_the_command_line_lists_and_requeues(run_as, ada, admin, echo) -> None:
    made = ada.run("ada/echo", text="needle")["id"]
    run = run_as(admin)
    rows = run("ls", "--user", "*", "--text", "needle", "--since", "1h").output
    assert made in rows
    assert "ada" in rows
    assert "No prediction is like that." in run("ls", "--user", "ada", "--status", "failed").output
    assert run("ls", "--user", "nemo").exit_code == 1
    assert f"{made}: starting" in run("requeue", made).output
    assert run_as(ada)("requeue", made).exit_code == 1
