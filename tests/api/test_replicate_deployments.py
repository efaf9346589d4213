"""Deployments as Replicate's clients depend on them."""

import re
from typing import Any

from api_hand_worker import HandWorker
from api_people import Person
from replicate_tables import DONE, Row, all_rows_hold, moment, text, under

DEPLOYMENT: dict[str, Any] = {
    "owner": "ada",
    "name": "prod",
    "current_release.number": 1,
    "current_release.model": "ada/echo",
    "current_release.version": re.compile(r"[0-9a-f]{64}").fullmatch,
    "current_release.created_at": moment,
    "current_release.created_by.type": "user",
    "current_release.created_by.username": "ada",
    "current_release.created_by.name": "ada",
    "current_release.configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 2},
}


def test_deployments(ada: Person, bob: Person, echo: dict, worker: HandWorker) -> None:
    version = echo["latest_version"]["id"]
    newer = ada.http.post(
        "/v1/models/ada/echo/versions", json={"runtime": "echo", "config": {"rows": 2}}
    ).json()["id"]
    new: dict[str, Any] = {
        "name": "prod",
        "model": "ada/echo",
        "version": version,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 2,
    }
    one, body = "/v1/deployments/ada/prod", {"input": {"text": "Hi"}}
    wait = {"json": body, "headers": {"Prefer": "wait=10"}}
    release = {
        "current_release.number": 2,
        "current_release.version": newer,
        "current_release.configuration.max_instances": 2,
    }
    refused = {"detail": text, "status": 422, "invalid_fields.0.field": text}
    rows: list[Row] = [
        ("POST", "/v1/deployments", {"json": new}, 201, DEPLOYMENT),
        ("POST", "/v1/deployments", {"json": new}, 409, {"detail": text}),
        ("GET", one, None, 200, DEPLOYMENT),
        (
            "GET",
            "/v1/deployments",
            None,
            200,
            under("results.0", DEPLOYMENT) | {"next": None, "previous": None},
        ),
        ("POST", one + "/predictions", wait, 201, DONE | {"deployment": "ada/prod", "version": version}),
        ("PATCH", one, {"json": {"version": newer}}, 200, release),
        ("PATCH", one, {"json": {"min_instances": 2}}, 200, {"current_release.number": 3}),
        (
            "PATCH",
            one,
            {"json": {"min_instances": 3}},
            422,
            refused | {"invalid_fields.0.field": "max_instances"},
        ),
        (
            "PATCH",
            one,
            {"json": {"hardware": "gpu-t4"}},
            422,
            refused | {"invalid_fields.0.field": "hardware"},
        ),
        ("PATCH", one, {"json": {"version": "0" * 64}}, 422, refused | {"invalid_fields.0.field": "version"}),
        ("POST", one + "/predictions", wait, 201, DONE | {"deployment": "ada/prod", "version": newer}),
        ("POST", one + "/predictions", {"json": {"version": version} | body}, 422, refused),
        ("GET", "/v1/predictions", None, 200, {"results.0.deployment": "ada/prod"}),
        (
            "POST",
            "/v1/deployments",
            {"json": {"name": "lean", "model": "ada/echo"}},
            201,
            {"current_release.version": newer},
        ),
        ("POST", "/v1/deployments", {"json": new | {"name": "A B"}}, 422, refused),
        ("POST", "/v1/deployments", {"json": new | {"model": "ada/none"}}, 422, refused),
        ("POST", "/v1/deployments", {"json": new | {"wings": 2}}, 422, refused),
        ("DELETE", one, None, 204, {}),
        ("GET", one, None, 404, {"detail": text, "status": 404}),
        ("POST", one + "/predictions", {"json": body}, 404, {"detail": text, "status": 404}),
        ("POST", "/v1/deployments", {"json": new}, 201, DEPLOYMENT),
    ]
    all_rows_hold(ada, rows)
    foreign: list[Row] = [
        (method, path, sent, 404, {"detail": text})
        for method, path, sent in (
            ("GET", one, None),
            ("PATCH", one, {"json": {"max_instances": 5}}),
            ("DELETE", one, None),
            ("POST", one + "/predictions", {"json": body}),
        )
    ]
    all_rows_hold(bob, [*foreign, ("GET", "/v1/deployments", None, 200, {"results": []})])


def test_a_deployment_is_made_once_by_an_idempotency_key(ada: Person, echo: dict) -> None:
    sent = {"json": {"name": "prod", "model": "ada/echo"}, "headers": {"Idempotency-Key": "k"}}
    made = [ada.http.post("/v1/deployments", **sent) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert (
        ada.http.post(
            "/v1/deployments", **sent | {"json": {"name": "other", "model": "ada/echo"}}
        ).status_code
        == 422
    )
    ada.http.delete("/v1/deployments/ada/prod")
    assert ada.http.post("/v1/deployments", **sent).status_code == 410


def test_a_deployments_hardware_decides_where_it_runs(ada: Person, echo: dict, worker: HandWorker) -> None:
    ada.http.post("/v1/deployments", json={"name": "fast", "model": "ada/echo", "hardware": "cuda"})
    made = ada.http.post("/v1/deployments/ada/fast/predictions", json={"input": {}}).json()
    assert (made["routing"]["queue"], made["status"]) == ("cuda", "starting")


def test_the_real_client_has_deployments(
    replicate_client, ada: Person, echo: dict, worker: HandWorker
) -> None:
    client = replicate_client(ada)
    version = echo["latest_version"]["id"]
    given: dict[str, Any] = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = client.deployments.create(name="ada/prod", model="ada/echo", version=version, **given)
    assert (made.id, made.current_release.version) == ("ada/prod", version)
    assert [one.name for one in client.deployments.list()] == ["prod"]
    prediction = client.deployments.get("ada/prod").predictions.create(input={"text": "Hi"})
    prediction.wait()
    assert prediction.output == "Hi"
    assert client.deployments.predictions.create("ada/prod", {"text": "x"}).status == "starting"
    assert (
        client.deployments.update("ada", "prod", max_instances=3).current_release.configuration.max_instances
        == 3
    )
    assert client.deployments.delete("ada", "prod") is True
