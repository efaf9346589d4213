"""Many predictions at once: groups of failures, bulk cancel and rerun; and the version that a name means."""

from typing import Any

import pytest
from sqlalchemy import text

from app.domain.predictions import new_id


@pytest.fixture
def failed(database, ada, echo):
    """Writes failed predictions of Ada's echo, one for each error text; returns their ids."""
    insert = text("""
        INSERT INTO predictions (id, user_id, version_id, model, status, error, error_code, queue, input,
                                 created_at, completed_at)
        VALUES (:id, :user, :version, 'ada/echo', 'failed', :error, 'model_error', 'cpu', '{"text": "x"}',
                now(), now())""")

    def write(*errors: str) -> list[str]:
        rows = [
            {
                "id": new_id(1_900_000_000_000 + number),
                "user": ada.id,
                "version": echo["latest_version"]["id"],
                "error": error,
            }
            for number, error in enumerate(errors)
        ]
        with database.unit() as session:
            session.execute(insert, rows)
        return [row["id"] for row in rows]

    return write


def test_failures_that_differ_in_numbers_and_names_are_one_group(ada, bob, failed) -> None:
    failed("no file 'a.png' after 3 tries", "no file 'b.png' after 14 tries", "out of memory: 12.5 GB")
    groups = ada.http.get("/v1/errors").json()["results"]
    assert {group["count"] for group in groups} == {1, 2}
    [pair] = [group for group in groups if group["count"] == 2]
    assert (pair["model"], pair["error_code"], sum(pair["counts"])) == ("ada/echo", "model_error", 2)
    found = ada.http.get("/v1/predictions", params={"error_group": pair["group"]}).json()["results"]
    assert len(found) == 2
    assert pair["prediction"] in {each["id"] for each in found}
    assert bob.http.get("/v1/errors").json()["results"] == []


def test_a_group_of_failures_runs_again_as_new_predictions(ada, failed) -> None:
    ids = failed("broken at 1", "broken at 2", "something else")
    group = next(each["group"] for each in ada.http.get("/v1/errors").json()["results"] if each["count"] == 2)
    answer = ada.http.post("/v1/predictions/rerun", json={"error_group": group}).json()
    assert {each["of"] for each in answer["created"]} == set(ids[:2])
    assert (answer["refused"], answer["next"]) == ([], None)
    again = ada.http.get(f"/v1/predictions/{answer['created'][0]['id']}").json()
    assert (again["status"], again["input"]["text"]) == ("starting", "x")


def test_what_has_no_data_any_more_is_refused_and_the_others_run(ada, failed) -> None:
    ids = failed("a", "b")
    ada.http.delete(f"/v1/predictions/{ids[0]}").raise_for_status()
    answer = ada.http.post("/v1/predictions/rerun", json={"ids": ids}).json()
    assert [each["of"] for each in answer["created"]] == [ids[1]]
    assert [(each["of"], each["code"]) for each in answer["refused"]] == [(ids[0], "gone")]


def start(person: Any, model: Any, **values: Any) -> str:
    body = {"version": model["latest_version"]["id"], "input": values}
    return str(person.http.post("/v1/predictions", json=body).raise_for_status().json()["id"])


def test_many_that_wait_are_canceled_and_nobody_elses(ada, bob, echo) -> None:
    ada.http.patch("/v1/models/ada/echo", json={"visibility": "public"})
    own, others = [start(ada, echo, text="1"), start(ada, echo, text="2")], start(bob, echo, text="3")
    answer = ada.http.post("/v1/predictions/cancel", json={"ids": [*own, others]}).json()
    assert sorted(answer["canceled"]) == sorted(own)
    assert bob.http.get(f"/v1/predictions/{others}").json()["status"] == "starting"
    assert ada.http.post("/v1/predictions/cancel", json={"status": "starting"}).json()["canceled"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"]}, "ids"),
        ({"after": "x", "status": "failed"}, "after"),
        ({"error_group": "no"}, "error_group"),
        ({"status": "done"}, "status"),
    ],
)
def test_a_selection_that_is_none_is_refused_by_its_field(ada, body, field) -> None:
    answer = ada.http.post("/v1/predictions/rerun", json=body)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == field


def test_an_older_version_is_made_current_and_the_models_name_means_it(ada, bob, echo) -> None:
    first = echo["latest_version"]["id"]
    newer = {"runtime": "echo", "config": {"joins": True}}
    second = ada.http.post("/v1/models/ada/echo/versions", json=newer).json()["id"]
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"]["id"] == second
    assert bob.http.post(f"/v1/models/ada/echo/versions/{first}/current").status_code == 403
    assert ada.http.post(f"/v1/models/ada/echo/versions/{first}/current").json()["id"] == first
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"]["id"] == first
    made = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}}).json()
    assert made["version"] == first
    assert ada.http.post(f"/v1/models/ada/echo/versions/{'0' * 64}/current").status_code == 404
