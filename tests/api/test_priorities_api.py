"""A caller asks for a band within what an administrator allows, who also says how large a user's share is."""

import pytest
from api_people import Person, Server

from app.db import predictions, users

LOW, HIGH = "batch", "interactive"


def create(person: Person, priority: object):
    body = {"version": "ada/echo", "input": {"text": "x"}, "priority": priority}
    return person.http.post("/v1/predictions", json=body)


def band(api: Server, prediction_id: str) -> int:
    with api.services.bulk._database.unit() as session:
        return predictions.get(session, [prediction_id])[prediction_id].priority


def test_a_caller_asks_for_no_higher_band_than_is_allowed(api: Server, admin: Person, ada: Person) -> None:
    ada.model("echo")
    low = create(ada, LOW)
    assert (low.status_code, low.json()["priority"]) == (201, LOW)
    refused = create(ada, HIGH)
    assert (refused.status_code, "its highest is 'default'" in refused.json()["detail"]) == (403, True)
    for wrong in ("urgent", 0, None):
        answer = create(ada, wrong)
        assert (answer.status_code, "priority" in answer.json()["detail"]) == (422, True), wrong
    changed = admin.http.patch("/v1/users/ada", json={"highest_priority": HIGH})
    assert (changed.status_code, changed.json()["highest_priority"]) == (200, HIGH)
    high, usual = create(ada, HIGH), create(ada, "default")
    assert "priority" not in usual.json()
    ids = [answer.json()["id"] for answer in (high, usual, low)]
    assert [band(api, each) for each in ids] == [0, 1, 2]
    admin.http.patch("/v1/users/ada", json={"highest_priority": LOW})
    assert create(ada, "default").status_code == 403


def test_an_administrator_sets_a_users_share_and_nobody_else_does(
    api: Server, admin: Person, ada: Person
) -> None:
    assert ada.http.patch("/v1/users/ada", json={"weight": 100}).status_code == 403
    changed = admin.http.patch("/v1/users/ada", json={"weight": 2.5})
    assert (changed.status_code, changed.json()["weight"], changed.json()["is_admin"]) == (200, 2.5, False)
    with api.services.bulk._database.unit() as session:
        assert users.weights(session) == {ada.id: 2.5}


@pytest.mark.parametrize("weight", ["0", "-1", "101", "NaN", "Infinity"])
def test_a_share_is_a_number_that_can_be_shared(admin: Person, ada: Person, weight: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = admin.http.patch("/v1/users/ada", content=f'{{"weight": {weight}}}', headers=headers)
    assert answer.status_code in (400, 422), answer.text
