"""Predictions over HTTP: create, wait, get, list, cancel, remove, stream."""

import threading
import time

import httpx
import pytest
from sqlalchemy import text


def until_ended(person, prediction, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = person.http.get(f"/v1/predictions/{prediction['id']}").json()
        if found["status"] in ("succeeded", "failed", "canceled"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not end: {found}")


def test_a_prediction_is_accepted_at_once_and_ends(ada, echo, worker):
    answer = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "Hello"}})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/v1/predictions/{made['id']}")
    assert (made["status"], made["output"], made["model"]) == ("starting", None, "ada/echo")
    assert made["version"] == echo["latest_version"]["id"]
    ended = until_ended(ada, made)
    assert (ended["status"], ended["output"], ended["error"]) == ("succeeded", "Hello", None)
    assert ended["metrics"]["predict_time"] >= 0
    assert ended["urls"]["get"] == answer.headers["location"]


@pytest.mark.parametrize("form", ["{id}", "ada/echo", "ada/echo:{id}"])
def test_every_form_of_a_version_is_understood(ada, echo, form):
    version = form.format(id=echo["latest_version"]["id"])
    assert ada.run(version)["version"] == echo["latest_version"]["id"]


def test_a_model_can_be_named_by_field_or_by_address(ada, echo):
    by_field = ada.http.post("/v1/predictions", json={"model": "ada/echo", "input": {}})
    by_address = ada.http.post("/v1/models/ada/echo/predictions", json={"input": {}})
    assert (by_field.status_code, by_address.status_code) == (201, 201)


def test_the_only_model_of_a_name_needs_no_owner(ada, bob, echo):
    bare = {"version": "echo", "input": {"text": "x"}}
    assert bob.http.post("/v1/predictions", json=bare).json()["model"] == "ada/echo"
    bob.model("echo")
    assert bob.http.post("/v1/predictions", json=bare).json()["model"] == "bob/echo"
    assert bob.http.post("/v1/predictions", json=bare | {"version": "nobodys"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "names"),
    [
        ({"version": "ada/none"}, 404, "model"),
        ({"version": "0" * 64}, 404, "version"),
        ({"version": "ada/echo:" + "0" * 64}, 404, "version"),
        ({"version": "../../etc"}, 422, "version"),
        ({"version": "ada/../echo"}, 422, "version"),
        ({"version": "x'; DROP TABLE users"}, 422, "version"),
        ({"version": ""}, 422, "version"),
        ({"version": None}, 422, "version"),
        ({"version": 5}, 422, "version"),
        ({"model": "ada/echo"}, 422, "model"),
        ({"input": None}, 422, "input"),
        ({"input": []}, 422, "input"),
        ({"input": {"text": 5}}, 422, "input.text"),
        ({"input": {"chunks": True}}, 422, "input.chunks"),
        ({"input": {"chunks": 2**62}}, 422, "input.chunks"),
        ({"input": {"seconds": "1"}}, 422, "input.seconds"),
        ({"status": "succeeded"}, 422, "status"),
        ({"user_id": "x"}, 422, "user_id"),
        ({"webhook": "http://127.0.0.1/"}, 422, "webhook"),
        ({"webhook": "ftp://example.com/"}, 422, "webhook"),
        ({"webhook_events_filter": ["everything"]}, 422, "webhook_events_filter"),
    ],
)
def test_a_wrong_request_is_refused_by_name_and_nothing_is_queued(ada, echo, change, status, names):
    answer = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}} | change)
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)
    assert names in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert ada.http.get("/v1/predictions").json()["results"] == []


UNKNOWN = {"version": "ada/echo", "input": {"text": "Hi", "max_length": 5, "size": "1x1"}}


@pytest.mark.parametrize("prefer", ["wait=5", "handling=lenient"])
def test_inputs_that_the_model_does_not_have_are_left_out_and_named(ada, echo, worker, prefer):
    made = ada.http.post("/v1/predictions", headers={"Prefer": prefer}, json=UNKNOWN).json()
    assert made["input"]["text"] == "Hi"
    assert not {"max_length", "size"} & made["input"].keys()
    assert made["warnings"] == [
        f"input.{name} is not an input of this model: it was left out." for name in ("max_length", "size")
    ]
    assert ada.http.get(f"/v1/predictions/{made['id']}").json()["warnings"] == made["warnings"]
    assert (
        "warnings" not in ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}}).json()
    )


@pytest.mark.parametrize("prefer", ["handling=strict", "wait=5, handling=strict"])
def test_a_strict_request_refuses_them_by_name(ada, echo, prefer):
    answer = ada.http.post("/v1/predictions", headers={"Prefer": prefer}, json=UNKNOWN)
    assert answer.status_code == 422
    assert "input.max_length" in answer.json()["detail"]


def test_an_operator_may_have_them_refused(start_server, ada, echo):
    server = start_server(refuse_unknown_inputs=True)
    answer = ada.http.post(f"{server.url}/v1/predictions", json=UNKNOWN)
    assert (answer.status_code, "input.max_length" in answer.json()["detail"]) == (422, True)


def test_warnings_are_as_few_as_a_record_should_hold(ada, echo):
    many = {f"x{number}": 1 for number in range(500)}
    warnings = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": many}).json()[
        "warnings"
    ]
    assert (len(warnings), warnings[-1]) == (21, "480 more were left out.")


def test_waiting_answers_with_the_result(ada, echo, worker):
    answer = ada.http.post(
        "/v1/predictions", headers={"Prefer": "wait=5"}, json={"version": "ada/echo", "input": {"text": "Hi"}}
    )
    assert answer.headers["preference-applied"] == "wait=5"
    assert (answer.json()["status"], answer.json()["output"]) == ("succeeded", "Hi")


@pytest.mark.alone
def test_a_wait_that_runs_out_says_starting_in_time(ada, echo, worker):
    began = time.monotonic()
    wanted = {"version": "ada/echo", "input": {"seconds": 3, "chunks": 2, "text": "x"}}
    answer = ada.http.post("/v1/predictions", headers={"Prefer": "wait=1"}, json=wanted)
    assert 0.5 < time.monotonic() - began <= 1.0
    assert (answer.json()["status"], answer.json()["output"]) == ("starting", None)
    now = ada.http.get(f"/v1/predictions/{answer.json()['id']}").json()
    assert (now["status"], now["output"]) == ("processing", ["x", "x"])


def test_a_get_can_wait_too(ada, echo, worker):
    made = ada.run("ada/echo", seconds=0.5, text="late")
    found = ada.http.get(f"/v1/predictions/{made['id']}", headers={"Prefer": "wait=5"}).json()
    assert found["output"] == "late"


def test_a_failed_prediction_has_a_sentence(ada, echo, worker):
    ended = until_ended(ada, ada.run("ada/echo", fail=True))
    assert (ended["status"], ended["error"]) == ("failed", "It was asked to fail.")


def test_an_idempotency_key_gives_one_prediction(ada, bob, echo):
    body, headers = {"version": "ada/echo", "input": {"text": "a"}}, {"Idempotency-Key": "k1"}
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(ada.http.post("/v1/predictions", json=body, headers=headers))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other_body = body | {"input": {"text": "b"}}
    assert ada.http.post("/v1/predictions", json=other_body, headers=headers).status_code == 422
    assert (
        bob.http.post("/v1/predictions", json=body, headers=headers).json()["id"] != answers[0].json()["id"]
    )
    wrong = ada.http.post("/v1/predictions", json=body, headers={"Idempotency-Key": "a b"})
    assert wrong.status_code == 422
    assert "Idempotency-Key" in wrong.json()["detail"]


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("1m", 60), ("1h30m", 5400), ("90", 90)])
def test_cancel_after_sets_a_deadline(ada, echo, text, seconds):
    from datetime import datetime

    answer = ada.http.post(
        "/v1/predictions", headers={"Cancel-After": text}, json={"version": "ada/echo", "input": {}}
    ).json()
    times = [datetime.fromisoformat(answer[name]) for name in ("created_at", "deadline")]
    assert (times[1] - times[0]).total_seconds() == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("text", ["", "soon", "0s", "-1s", "25h", "1.5m", "99999999999s"])
def test_a_wrong_cancel_after_is_refused_by_name(ada, echo, text):
    answer = ada.http.post(
        "/v1/predictions", headers={"Cancel-After": text}, json={"version": "ada/echo", "input": {}}
    )
    assert (answer.status_code, "Cancel-After" in answer.json()["detail"]) == (422, True)


def test_a_timeout_of_running_is_kept_and_checked(ada, echo):
    def create(**given):
        return ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}, **given})

    assert create(timeout=2.5).json()["timeout"] == 2.5
    assert "timeout" not in create().json()
    for wrong in (0, -1, 86_401, "1", True):
        answer = create(timeout=wrong)
        assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, "timeout"), wrong


def test_a_waiting_prediction_that_is_canceled_never_starts_and_cancel_repeats(ada, echo):
    made = ada.run("ada/echo")
    for _ in range(2):
        answer = ada.http.post(f"/v1/predictions/{made['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
        assert answer.json()["id"] == made["id"]


def test_an_ended_prediction_that_is_canceled_stays(ada, echo, worker):
    ended = until_ended(ada, ada.run("ada/echo", text="done"))
    answer = ada.http.post(f"/v1/predictions/{ended['id']}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (
        200,
        "succeeded",
        "done",
    )


def test_data_is_removed_on_request_once_it_has_ended(ada, echo, worker):
    running = ada.run("ada/echo", seconds=1)
    assert ada.http.delete(f"/v1/predictions/{running['id']}").status_code == 409
    until_ended(ada, running)
    assert ada.http.delete(f"/v1/predictions/{running['id']}").status_code == 204
    found = ada.http.get(f"/v1/predictions/{running['id']}").json()
    assert (found["data_removed"], found["input"], found["output"]) == (True, None, None)


def test_the_list_is_newest_first_in_pages_and_filters(ada, echo):
    made = [ada.run("ada/echo", text=str(n))["id"] for n in range(7)]
    first = ada.http.get("/v1/predictions?limit=3").json()
    assert [one["id"] for one in first["results"]] == sorted(made, reverse=True)[:3]
    assert first["previous"] is None
    answer = ada.http.get(first["next"])
    second = answer.json()
    assert answer.links["next"]["url"] == second["next"]
    assert answer.links["prev"]["url"] == second["previous"]
    third = ada.http.get(second["next"]).json()
    pages = [[one["id"] for one in page["results"]] for page in (first, second, third)]
    assert [one for page in pages for one in page] == sorted(made, reverse=True)
    assert third["next"] is None
    assert [one["id"] for one in ada.http.get(second["previous"]).json()["results"]] == pages[0]
    assert "limit=3" in first["next"]
    ada.http.post(f"/v1/predictions/{made[0]}/cancel")
    canceled = ada.http.get("/v1/predictions?status=canceled&model=ada/echo").json()["results"]
    assert [one["id"] for one in canceled] == [made[0]]
    assert ada.http.get("/v1/predictions?created_after=2999-01-01T00:00:00Z").json()["results"] == []


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=1000000000", "cursor=garbage", "status=lost", "created_after=x"]
)
def test_a_wrong_list_is_refused(ada, query):
    answer = ada.http.get(f"/v1/predictions?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["detail"]


def test_somebody_elses_prediction_does_not_exist(ada, bob, echo, anonymous):
    made = ada.run("ada/echo")
    path = f"/v1/predictions/{made['id']}"
    calls = [("GET", path), ("POST", path + "/cancel"), ("DELETE", path), ("GET", path + "/deliveries")]
    for method, address in [*calls, ("POST", path + "/redeliver")]:
        theirs, absent = (
            bob.http.request(method, address),
            bob.http.request(method, address.replace(made["id"], "0" * 26)),
        )
        assert (theirs.status_code, absent.status_code) == (404, 404), address
        assert theirs.json()["detail"] == absent.json()["detail"]
        assert anonymous.request(method, address).status_code == 401
    assert bob.http.get("/v1/predictions").json()["results"] == []
    assert ada.http.get(path).json()["status"] == "starting"


def test_somebody_elses_private_model_cannot_be_run(ada, bob):
    version = ada.model("secret")["latest_version"]["id"]
    for body in ({"version": "ada/secret"}, {"version": version}, {"version": f"ada/secret:{version}"}):
        assert bob.http.post("/v1/predictions", json={**body, "input": {}}).status_code == 404
    assert bob.http.post("/v1/models/ada/secret/predictions", json={"input": {}}).status_code == 404
    assert ada.run("ada/secret")["status"] == "starting"


def test_anonymous_callers_run_public_models_where_that_is_allowed(start_server, ada, echo):
    ada.model("secret")
    mine = ada.run("ada/echo")
    with httpx.Client(base_url=start_server(allow_anonymous=True).url) as client:
        made = client.post("/v1/predictions", json={"version": "ada/echo", "input": {}})
        assert made.status_code == 201, made.text
        assert client.get(f"/v1/predictions/{made.json()['id']}").status_code == 200
        assert client.get(f"/v1/predictions/{mine['id']}").status_code == 404
        assert client.get("/v1/predictions").status_code == 401
        assert client.post("/v1/predictions", json={"version": "ada/secret", "input": {}}).status_code == 404
        assert client.post("/v1/models", json={"name": "x"}).status_code == 403
        assert client.post("/v1/files", files={"content": b"x"}).status_code == 401
        assert client.get("/v1/account", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert ada.http.get(f"/v1/predictions/{made.json()['id']}").status_code == 404


def test_a_stream_tells_everything_to_a_late_reader_and_resumes(ada, echo, worker, anonymous):
    made = ada.run("ada/echo", text=" a\u2028b\nc\n", chunks=3, seconds=0.5)
    until_ended(ada, made)
    with anonymous.stream("GET", made["urls"]["stream"]) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        text = answer.read().decode()
    events = [block for block in text.split("\n\n") if "event:" in block]
    assert [event.split("\n")[0] for event in events] == ["event: output"] * 3 + ["event: done"]
    assert events[0].split("\n")[2:] == ["data:  a", "data: b", "data: c", "data: "]
    assert all("\nid: " in event for event in events)
    seen = events[1].split("id: ")[1].split("\n")[0]
    rest = anonymous.get(made["urls"]["stream"], headers={"Last-Event-ID": seen}).text
    assert rest.count("event: output") == 1
    assert anonymous.get(made["urls"]["stream"][:-2] + "xx").status_code == 404


def test_webhooks_are_listed_in_pages_and_sent_again_not_too_often(ada, echo, worker, database):
    wanted = {"version": "ada/echo", "input": {}, "webhook": "https://example.com/hook"}
    made = ada.http.post("/v1/predictions", json=wanted).json()
    until_ended(ada, made)
    listed = ada.http.get(f"/v1/predictions/{made['id']}/deliveries").json()["results"]
    assert [(one["event"], one["status"], one["url"]) for one in listed] == [
        ("completed", "pending", "https://example.com/hook")
    ]
    again = ada.http.post(f"/v1/predictions/{made['id']}/redeliver").json()
    assert again["redelivered"] == [listed[0]["id"]]
    body = ada.http.get(f"/v1/predictions/{made['id']}/deliveries/{listed[0]['id']}/body")
    assert (body.headers["content-type"], body.json()["id"]) == ("application/json", made["id"])
    assert body.json()["urls"] == made["urls"], "absolute, as the request that made it was answered"
    assert ada.http.get(f"/v1/predictions/{made['id']}/deliveries/none/body").status_code == 404
    one = ada.http.post(f"/v1/predictions/{made['id']}/deliveries/{listed[0]['id']}/redeliver")
    assert one.status_code == 200
    assert ada.http.post(f"/v1/predictions/{made['id']}/deliveries/none/redeliver").status_code == 404
    more = text(
        "INSERT INTO deliveries SELECT id || n, prediction_id, user_id, event, url, body FROM deliveries,"
        " generate_series(1, 149) n"
    )
    tries = text(
        "INSERT INTO delivery_attempts (delivery_id, seconds) SELECT id, 1 FROM deliveries,"
        " generate_series(1, 100) WHERE id = :id"
    )
    with database.unit() as session:
        session.execute(more)
        session.execute(tries, {"id": listed[0]["id"]})
    page = ada.http.get(f"/v1/predictions/{made['id']}/deliveries").json()
    rest = ada.http.get(page["next"]).json()
    ids = [each["id"] for each in page["results"] + rest["results"]]
    assert (len(page["results"]), len(set(ids)), rest["next"]) == (100, 150, None)
    again = ada.http.post(f"/v1/predictions/{made['id']}/redeliver").json()["redelivered"]
    assert len(again) == 100
    assert listed[0]["id"] not in again
    too_often = ada.http.post(f"/v1/predictions/{made['id']}/deliveries/{listed[0]['id']}/redeliver")
    assert (too_often.status_code, "100 times" in too_often.json()["detail"]) == (409, True)


def test_the_webhook_secret_is_shown(ada):
    secret = ada.http.get("/v1/webhooks/default/secret").json()["key"]
    assert secret.startswith("whsec_")
    assert secret.count("_") == 1


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("0206-05-25T15:11:38-05:36", 200),
        ("2026-01-01T00:00:00+18:41", 200),
        ("0001-01-01T00:00:00+18:41", 422),
    ],
)
def test_odd_time_zones_of_a_list_are_understood_or_refused_by_name(ada, moment, status):
    answer = ada.http.get("/v1/predictions", params={"created_after": moment})
    assert answer.status_code == status, answer.text
    assert status == 200 or "created_after" in answer.json()["detail"]
