"""The account, authorization, forms of errors and throttling as Replicate's clients depend on them."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_hand_worker import HandWorker
from api_people import Person, Server
from replicate_tables import Row, all_rows_hold, text, wrong


def test_the_rest_of_the_catalogue(ada: Person, worker: HandWorker) -> None:
    rows: list[Row] = [
        ("GET", "/v1/account", None, 200, {"type": "user", "username": "ada", "name": text}),
        ("GET", "/v1/hardware", None, 200, {"0.sku": "cpu", "0.name": text}),
        (
            "GET",
            "/v1/webhooks/default/secret",
            None,
            200,
            {"key": re.compile(r"whsec_[A-Za-z0-9+/]+=*").fullmatch},
        ),
    ]
    all_rows_hold(ada, rows)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "token"])
def test_every_form_of_authorization_is_taken(api: Server, ada: Person, scheme: str) -> None:
    answer = httpx.get(
        f"{api.url}/v1/account", headers={"Authorization": f"{scheme} {ada.key}"}, trust_env=False
    )
    assert answer.json()["username"] == "ada"


def test_forms_of_errors(api: Server, ada: Person, anonymous: httpx.Client, echo: dict) -> None:
    one, field = "/v1/predictions", "invalid_fields.0.field"
    forms: list[tuple[httpx.Response, int, dict[str, Any]]] = [
        (anonymous.get(one), 401, {"title": "Unauthenticated"}),
        (anonymous.get(one, headers={"Authorization": "Bearer wrong"}), 401, {"title": "Unauthenticated"}),
        (ada.http.get("/v1/models/ada/none"), 404, {}),
        (ada.http.get("/v1/nothing/here"), 404, {}),
        (ada.http.delete("/v1/account"), 405, {}),
        (
            ada.http.post(one, json={"version": "ada/echo", "input": {"chunks": "many"}}),
            422,
            {
                "title": "Input validation failed",
                "detail": re.compile(r"- input\.chunks: .+\n").fullmatch,
                field: "input.chunks",
                "invalid_fields.0.type": text,
                "invalid_fields.0.description": text,
            },
        ),
        (
            ada.http.post(one, json={"version": "ada/echo", "input": {}, "wings": 2}),
            422,
            {field: "wings", "invalid_fields.0.description": lambda found: "additional property" in found},
        ),
        # Replicate drops unknown inputs silently; we name them in `warnings`, and refuse them where asked to.
        (
            ada.http.post(
                one,
                json={"version": "ada/echo", "input": {"wings": 2}},
                headers={"Prefer": "handling=strict"},
            ),
            422,
            {field: "input.wings"},
        ),
        (ada.http.post(one, json={"version": "ada/echo"}), 422, {field: "input"}),
        (ada.http.post(one, json={"version": "0" * 64, "input": {}}), 404, {}),
        (ada.http.post(one, content=b"{"), 422, {}),
        (ada.http.get(one, params={"cursor": "garbage"}), 422, {}),
    ]
    failures = []
    for answer, status, fields in forms:
        shape = {
            "detail": text,
            "title": text,
            "status": status,
            "type": text,
            "code": text,
            "request_id": text,
        } | fields
        if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
            failures.append(
                f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.headers}"
            )
        elif bad := wrong(answer.json(), shape):
            failures.append(f"{answer.request.method} {answer.request.url}: {bad}")
    assert not failures, "\n".join(failures)


def test_a_throttled_call_says_when_to_come_back(start_server: Callable[..., Server], ada: Person) -> None:
    limited = start_server(rate_limit_calls="1/minute")
    headers = {"Authorization": f"Bearer {ada.key}"}
    answers = [httpx.get(f"{limited.url}/v1/account", headers=headers, trust_env=False) for _ in range(2)]
    assert answers[1].status_code == 429
    assert not wrong(answers[1].json(), {"detail": text, "status": 429})
    assert not wrong(answers[1].headers, {"retry-after": str.isdecimal, "ratelimit-remaining": "0"})
