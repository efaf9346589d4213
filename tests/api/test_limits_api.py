"""Limits as callers meet them: 429 with the headers that say when; a forged X-Forwarded-For helps nobody."""

import httpx
import pytest
from api_people import Person, Server


@pytest.fixture
def limited(start_server) -> Server:
    server: Server = start_server(rate_limit_creates="5/minute", rate_limit_calls="20/minute")
    return server


def as_person(server: Server, person: Person) -> httpx.Client:
    return httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {person.key}"}, trust_env=False
    )


def test_creates_and_calls_are_limited_apart(limited: Server, ada: Person) -> None:
    ada.model("m")
    with as_person(limited, ada) as http:
        body = {"version": "ada/m", "input": {"text": "x"}}
        answers = [http.post("/v1/predictions", json=body) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [201] * 5 + [429] * 2
        refused = answers[-1]
        assert refused.json()["code"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["ratelimit"].startswith('"creates";r=0;t=')
        assert answers[0].headers["ratelimit-policy"] == '"creates";q=5;w=60'
        assert answers[0].headers["ratelimit"].startswith('"creates";r=4;')
        calls = [http.get("/v1/account").status_code for _ in range(25)]
        assert calls == [200] * 20 + [429] * 5


def test_other_people_are_not_concerned(limited: Server, ada: Person, bob: Person) -> None:
    with as_person(limited, ada) as first, as_person(limited, bob) as second:
        assert {first.get("/v1/account").status_code for _ in range(30)} == {200, 429}
        assert second.get("/v1/account").status_code == 200


def test_openai_clients_get_their_own_shape(limited: Server, ada: Person) -> None:
    with as_person(limited, ada) as http:
        body = {"model": "ada/nothing", "prompt": "x"}
        answers = [http.post("/v1/completions", json=body) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [404] * 5 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"


def test_too_many_waiting_predictions_are_refused(start_server, ada: Person) -> None:
    server: Server = start_server(max_waiting_per_user=3)
    ada.model("slow")
    with as_person(server, ada) as http:
        answers = [
            http.post("/v1/predictions", json={"version": "ada/slow", "input": {"text": "x"}})
            for _ in range(5)
        ]
    assert [answer.status_code for answer in answers] == [201] * 3 + [429] * 2
    assert answers[-1].json()["code"] == "too_many_waiting"
    assert "retry-after" in answers[-1].headers


def test_administrators_read_who_did_what(admin: Person, ada: Person) -> None:
    ada.http.post("/v1/auth/token", data={"username": "ada", "password": "not it"})
    made = ada.http.post("/v1/keys", json={"name": "k", "scopes": ["predict"]})
    assert ada.http.get("/v1/audit").status_code == 403
    for _ in range(100):
        log = admin.http.get("/v1/audit", params={"limit": 50}).json()
        actions = [(entry["action"], entry["username"]) for entry in log["results"]]
        if ("login.failed", "ada") in actions:
            break
    assert ("login.failed", "ada") in actions
    assert made.status_code in (201, 403)
    only = admin.http.get("/v1/audit", params={"action": "login.failed", "limit": 1}).json()["results"]
    assert [entry["action"] for entry in only] == ["login.failed"]
    assert "not it" not in str(log)
