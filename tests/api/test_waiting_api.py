"""Cheap waiting: unchanged predictions cost no body, waiting ones say where they stand."""

import time
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest
from api_people import Person, Server
from waiting import eventually

from app.domain.claim_order import ClaimOrder
from app.domain.predictions import Waiting
from app.domain.priorities import AGEING_SECONDS
from app.services.predictions.queue_position import COUNTED, position_in


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


ADA, BOB = uuid4(), uuid4()


def waiting(number: int, user: UUID = ADA, priority: int = 1, seconds: float = 0.0) -> Waiting:
    return Waiting(f"{number:06}", "v" * 64, user, priority, seconds)


def look(*rows: Waiting, weights: Mapping[UUID | None, float] | None = None) -> ClaimOrder:
    return ClaimOrder(rows, weights or {}, COUNTED)


def test_positions_and_waits() -> None:
    order = look(*(waiting(n) for n in range(10)))
    position = position_in(order, [1.0, 2.0, 4.0], waiting(3))
    assert position
    assert (position.position, position.p50, position.p90) == (4, 2.0, 4.0)
    assert position.retry_after == 1
    silent, newest = position_in(order, [], waiting(3)), position_in(order, [], waiting(10))
    assert silent
    assert silent.p50 is None
    assert newest
    assert newest.position == 11, "it came after the look"
    assert look(waiting(1), waiting(2), waiting(3)).count_left(look(waiting(3), waiting(4))) == 2


def test_one_prediction_behind_anothers_flood_is_the_second() -> None:
    flood = [waiting(n, BOB) for n in range(COUNTED // 2)]
    mine, own = waiting(9_000), waiting(9_001)
    order = look(*flood, mine)
    assert order.count_ahead(mine) == (1, True)
    assert order.count_ahead(own) == (3, True)
    assert order.count_ahead(flood[2]) == (3, True), "the flood's third, after its first two and mine"
    assert order.count_ahead(waiting(8_000, BOB)) == (COUNTED // 2 + 1, False), "more of it than was seen"


def test_a_position_knows_bands_ageing_and_weights() -> None:
    batch, urgent = waiting(1, priority=2), waiting(2, BOB, priority=0)
    assert look(batch, urgent).count_ahead(batch) == (1, True)
    old = replace(batch, seconds=2 * AGEING_SECONDS)
    assert look(old, urgent).count_ahead(old) == (0, True)
    rows = [waiting(n, user) for n, user in enumerate([ADA, ADA, ADA, BOB])]
    assert look(*rows).count_ahead(rows[-1]) == (1, True)
    assert look(*rows, weights={ADA: 2.0}).count_ahead(rows[2]) == (3, True)


def test_a_look_at_a_users_smaller_share_is_not_taken_for_progress() -> None:
    before = look(*(waiting(n) for n in range(10)))
    assert before.count_left(look(*(waiting(n) for n in range(2, 5)), waiting(11, BOB))) == 2
    assert before.count_left(look(waiting(11, BOB))) == 10


def test_a_prediction_says_what_keeps_it_from_running(ada: Person, echo, worker) -> None:
    worker.begins.clear()
    created = ada.run("ada/echo", seconds=30)
    url = f"/v1/predictions/{created['id']}"
    eventually(lambda: ada.http.get(url).json()["waiting_for"] == {"what": "model", "name": "ada/echo"})
    model = {"version": created["version"], "model": "ada/echo"}
    worker.publish_models({**model, "state": "loading"})
    loading = {"what": "model", "name": "ada/echo", "worker": "cpu@testhost", "state": "loading"}
    eventually(lambda: ada.http.get(url).json().get("waiting_for") == loading)
    sizes = {"arrived_bytes": 750, "expected_bytes": 1_000}
    worker.publish_models({**model, "state": "downloading", **sizes})
    coming = {**loading, "state": "downloading", "bytes": 750, "total_bytes": 1_000, "percent": 75}
    eventually(lambda: ada.http.get(url).json().get("waiting_for") == coming)
    worker.publish_models({"version": created["version"], "model": "ada/echo", "state": "ready"})
    behind = {"what": "batch", "name": "ada/echo"}
    eventually(lambda: ada.http.get(url).json().get("waiting_for") == behind)
    claimed = ada.http.get(url)
    assert (claimed.json()["status"], claimed.json()["started_at"]) == ("starting", None)
    worker.begins.set()
    eventually(lambda: "waiting_for" not in ada.http.get(url).json())
    begun = ada.http.get(url)
    assert begun.json()["status"] == "processing"
    assert begun.json()["started_at"]
    assert begun.headers["etag"] != claimed.headers["etag"]
    waiting = ada.http.get(f"/v1/predictions/{ada.run('ada/echo', text='behind it')['id']}").json()
    assert waiting["waiting_for"] == {"what": "queue", "name": "cpu"}
    ada.http.post(f"{url}/cancel")


def test_what_a_worker_has_claimed_and_not_begun_is_starting_in_lists_and_counts(
    ada: Person, echo, worker
) -> None:
    def listed(status: str) -> list[str]:
        page = ada.http.get("/v1/predictions", params={"status": status}).json()
        return [each["id"] for each in page["results"] if each["status"] == status]

    def counts() -> tuple[int, int, int]:
        platform = ada.http.get("/status").json()
        return platform["waiting"], platform["claimed"], platform["running"]

    worker.begins.clear()
    prediction = ada.run("ada/echo", seconds=30)
    eventually(lambda: counts() == (0, 1, 0))
    assert (listed("starting"), listed("processing")) == ([prediction["id"]], [])
    worker.begins.set()
    eventually(lambda: counts() == (0, 0, 1))
    assert (listed("starting"), listed("processing")) == ([], [prediction["id"]])
    ada.http.post(f"/v1/predictions/{prediction['id']}/cancel")


def test_all_that_is_starting_is_canceled_with_what_a_worker_has_not_begun(ada: Person, echo, worker) -> None:
    def cancel(status: str) -> list[str]:
        answer = ada.http.post("/v1/predictions/cancel", json={"status": status})
        return list(answer.json()["canceled"])

    worker.begins.clear()
    claimed = ada.run("ada/echo", text="x")["id"]
    eventually(lambda: ada.http.get(f"/v1/predictions/{claimed}").json()["waiting_for"]["what"] == "model")
    assert (cancel("processing"), cancel("starting")) == ([], [claimed])
    worker.begins.set()
    eventually(lambda: ada.http.get(f"/v1/predictions/{claimed}").json()["status"] == "canceled")
