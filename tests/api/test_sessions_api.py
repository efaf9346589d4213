"""POST /v1/sessions: a worker's address and a token for it."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from api_people import Person

from app.db import workers
from app.domain.workers import NewWorker
from app.services.people.worker_tokens import GrantVerifier, public_key


@pytest.fixture
def rpc_worker(database) -> Iterator[str]:
    """The address of a live worker that takes direct calls."""
    row = NewWorker(
        id=uuid.uuid4(),
        host="rpchost",
        pid=1,
        device="cpu",
        device_class="cpu",
        device_facts={
            "name": "Test CPU",
            "total_bytes": 10**9 - 1,
            "grpc_address": "10.0.0.7:8081",
            "grpc_certificate": "ab" * 32,
        },
        queues=["cpu", "cpu@rpchost", "any"],
        slots=8,
    )
    with database.unit() as session:
        workers.register(session, row)
    yield "10.0.0.7:8081"
    with database.unit() as session:
        workers.stop(session, row.id)


def ask(ada: Person, status: int, body: dict[str, Any]) -> httpx.Response:
    """The answer as soon as it has this status: the API looks for workers about once a second."""
    for _ in range(60):
        answer = ada.http.post("/v1/sessions", json=body)
        if answer.status_code == status:
            return answer
        time.sleep(0.1)
    raise AssertionError(answer.text)


def test_a_session_is_an_address_and_a_token_that_its_worker_verifies(ada, api_settings, rpc_worker) -> None:
    ada.model("echo", runtime="echo")
    session = ask(ada, 201, {"model": "ada/echo", "affinity": "me"})
    body = session.json()
    assert body["certificate_sha256"] == "ab" * 32
    assert (body["address"], body["worker"], body["model"]) == (rpc_worker, "cpu@rpchost", "ada/echo")
    grant = GrantVerifier(public_key(api_settings.secret_key), "cpu@rpchost").verify(body["token"])
    assert grant
    assert (grant.username, grant.version) == (ada.name, body["version"])
    assert jwt.get_unverified_header(body["token"])["alg"] == "EdDSA"


def test_requirements_are_met_or_refused_by_name(ada, rpc_worker) -> None:
    ada.model("echo", runtime="echo", config={"require": {"memory_bytes": 1}})
    body = {"model": "ada/echo"}
    wrong = ada.http.post("/v1/sessions", json={**body, "requirements": {"task": "chat"}})
    assert (wrong.status_code, "requirements.task: is chat" in wrong.json()["detail"]) == (422, True)
    wrong = ada.http.post("/v1/sessions", json={**body, "requirements": {"device": "toaster"}})
    assert (wrong.status_code, "requirements.device" in wrong.json()["detail"]) == (422, True)
    ask(ada, 201, {**body, "requirements": {"task": "echo", "device": "cpu@rpchost", "memory_bytes": 5}})
    away = ask(ada, 503, {**body, "requirements": {"device": "cuda", "memory_bytes": 10**9}})
    assert "cuda, 1.0 GB of memory" in away.json()["detail"]


def test_a_session_cannot_ask_for_less_than_its_version(ada, rpc_worker) -> None:
    ada.model("large", runtime="echo", config={"require": {"memory_bytes": 10**15}})
    assert "GRPC_PORT" in ask(ada, 503, {"model": "ada/large"}).json()["detail"]
    ask(ada, 503, {"model": "ada/large", "requirements": {"memory_bytes": 1}})


def test_a_session_needs_a_worker_that_fits_and_a_model_that_is_there(ada, anonymous, worker) -> None:
    ada.model("echo", runtime="echo")
    assert "GRPC_PORT" in ask(ada, 503, {"model": "ada/echo"}).json()["detail"]
    assert ada.http.post("/v1/sessions", json={"model": "ada/none"}).status_code == 404
    wrong = ada.http.post("/v1/sessions", json={"model": "ada/echo", "requirements": {"wings": 2}})
    assert (wrong.status_code, "wings" in wrong.json()["detail"]) == (422, True)
    assert anonymous.post("/v1/sessions", json={"model": "ada/echo"}).status_code == 401
