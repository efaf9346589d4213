"""Cheap waiting: unchanged predictions cost no body, waiting ones say where they stand."""

import time

import httpx
import pytest
from api_people import Person, Server

from app.services.predictions.queue_position import COUNTED, left_since, position_in


def test_an_unchanged_prediction_is_answered_304(ada: Person, echo, worker) -> None:
    created = ada.http.post(
        "/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}}, headers={"Prefer": "wait=10"}
    )
    url = f"/v1/predictions/{created.json()['id']}"
    first = ada.http.get(url)
    assert first.json()["status"] == "succeeded"
    again = ada.http.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert ada.http.get(url, headers={"If-None-Match": 'W/"other"'}).status_code == 200
    ada.http.delete(url)
    assert ada.http.get(url, headers={"If-None-Match": first.headers["etag"]}).status_code == 200


@pytest.mark.alone
def test_a_repeated_create_of_an_ended_prediction_answers_at_once(
    ada: Person, echo, worker, start_server
) -> None:
    body = {"version": "ada/echo", "input": {"text": "x"}}
    headers = {"Prefer": "wait=10", "Idempotency-Key": "once"}
    first = ada.http.post("/v1/predictions", json=body, headers=headers)
    assert first.json()["status"] == "succeeded"
    fresh: Server = start_server()  # it has seen no event of the prediction
    began = time.monotonic()
    again = httpx.post(f"{fresh.url}/v1/predictions", json=body, headers={**headers, **ada.http.headers})
    assert time.monotonic() - began < 1, "nothing is waited for"
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.json()["status"] == "succeeded"
    assert again.headers["preference-applied"] == "wait=10"


def test_a_waiting_prediction_shows_its_position(ada: Person, echo, start_server) -> None:
    ids = [ada.run("ada/echo", text=str(n))["id"] for n in range(4)]
    fresh: Server = start_server()  # it has not seen the queue move
    headers = {"Authorization": f"Bearer {ada.key}"}
    answers = [
        httpx.get(f"{fresh.url}/v1/predictions/{name}", headers=headers, trust_env=False) for name in ids
    ]
    assert [answer.json()["queue"]["position"] for answer in answers] == [1, 2, 3, 4]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert answers[0].json()["queue"]["starts_in_seconds"] is None, "nothing has moved yet"


def test_an_ended_prediction_has_no_position(ada: Person, echo, worker) -> None:
    created = ada.http.post(
        "/v1/predictions", json={"version": "ada/echo", "input": {"text": "x"}}, headers={"Prefer": "wait=10"}
    )
    seen = ada.http.get(f"/v1/predictions/{created.json()['id']}")
    assert "queue" not in seen.json()
    assert "retry-after" not in seen.headers


def test_positions_and_waits() -> None:
    ids = [f"{n:04}" for n in range(10)]
    position = position_in(ids, [1.0, 2.0, 4.0], "0003")
    assert (position.position, position.p50, position.p90) == (4, 2.0, 4.0)
    assert position.retry_after == 1
    assert position_in(ids, [], "0003").p50 is None
    many = [f"{n:06}" for n in range(COUNTED)]
    far = position_in(many, [1.0], "999999")
    assert (far.position, far.as_json()["more_than"]) == (None, COUNTED)
    assert left_since(["a", "b", "c"], ["c", "d"]) == 2
