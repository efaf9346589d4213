"""Predictions as Replicate's clients depend on them: fields, headers, waits, streams, the page."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_hand_worker import HandWorker
from api_people import Person, Server
from replicate_tables import DONE, WAITING, Row, all_rows_hold, ended, moment, text, url, wrong

from app.api.rest.wire import UrlsOut


def test_predictions(ada: Person, echo: dict, worker: HandWorker) -> None:
    done = ended(ada, text="Hi")
    version, one = done["version"], f"/v1/predictions/{done['id']}"
    assert not wrong(done, DONE)
    given: dict[str, Any] = {"input": {"text": "x"}}
    legacy = {"stream": True, "webhook_completed": "https://example.com/hook"}
    hook = {
        "webhook": "https://example.com/hook",
        "webhook_events_filter": ["start", "output", "logs", "completed"],
    }
    page = {"previous": None, "next": None, "results.0.id": text, "results.0.urls.web": url}
    rows: list[Row] = [
        ("POST", "/v1/predictions", {"json": {"version": version} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": "ada/echo"} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": f"ada/echo:{version}"} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": version} | given | legacy}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": version} | given | hook}, 201, WAITING),
        ("POST", "/v1/models/ada/echo/predictions", {"json": given}, 201, WAITING),
        (
            "POST",
            "/v1/predictions",
            {"json": {"version": version} | given, "headers": {"Cancel-After": "1m"}},
            201,
            WAITING | {"deadline": moment},
        ),
        (
            "POST",
            "/v1/predictions",
            {"json": {"version": version} | given, "headers": {"Prefer": "respond-async"}},
            201,
            WAITING,
        ),
        ("GET", one, None, 200, DONE),
        ("POST", one + "/cancel", None, 200, DONE),
        ("GET", "/v1/predictions", None, 200, page),
        (
            "GET",
            "/v1/predictions?created_after=2020-01-01T00:00:00Z&created_before=2999-01-01T00:00:00Z",
            None,
            200,
            page,
        ),
        ("GET", "/v1/predictions?created_before=2020-01-01T00:00:00Z", None, 200, {"results": []}),
        ("GET", f"/v1/predictions/{'0' * 26}", None, 404, {"detail": text, "status": 404}),
        ("POST", f"/v1/predictions/{'0' * 26}/cancel", None, 404, {"detail": text, "status": 404}),
    ]
    all_rows_hold(ada, rows)


def test_what_a_prediction_that_failed_says(ada: Person, echo: dict, worker: HandWorker) -> None:
    found = ended(ada, fail=True)
    assert not wrong(
        found, {"status": "failed", "error": text, "output": None, "completed_at": moment, "error_code": text}
    )


def test_headers_of_a_creation(
    start_server: Callable[..., Server], ada: Person, echo: dict, worker: HandWorker
) -> None:
    wanted = {
        "location": re.compile(r"http://127\.0\.0\.1:\d+/v1/predictions/\w{26}").fullmatch,
        "preference-applied": "wait=10",
        "ratelimit-remaining": str.isdecimal,
        "ratelimit-reset": str.isdecimal,
        "x-request-id": text,
        "content-type": "application/json",
    }
    limited = start_server(rate_limit_creates="100/minute", rate_limit_calls="1000/minute")
    body = {"version": "ada/echo", "input": {"text": "x"}}
    headers = {"Authorization": f"Bearer {ada.key}", "Prefer": "wait=10"}
    answer = httpx.post(f"{limited.url}/v1/predictions", json=body, headers=headers, trust_env=False)
    assert not wrong(answer.headers, wanted)


@pytest.mark.parametrize(
    ("prefer", "applied"), [("wait", "wait=60"), ("wait=5", "wait=5"), ("wait=90", "wait=60")]
)
def test_a_wait_is_between_1_and_60_seconds(
    ada: Person, echo: dict, worker: HandWorker, prefer: str, applied: str
) -> None:
    body = {"version": "ada/echo", "input": {"text": "x"}}
    answer = ada.http.post("/v1/predictions", json=body, headers={"Prefer": prefer})
    assert answer.headers["preference-applied"] == applied
    assert answer.json()["status"] == "succeeded"


def test_a_wait_that_runs_out_says_starting_and_the_output_grows(
    ada: Person, echo: dict, worker: HandWorker
) -> None:
    wanted = {"version": "ada/echo", "input": {"text": "a", "chunks": 3, "seconds": 2}}
    answer = ada.http.post("/v1/predictions", json=wanted, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (201, "starting", None)
    found = ada.http.get(answer.json()["urls"]["get"]).json()
    assert (found["status"], found["output"]) == ("processing", ["a", "a", "a"])


def test_a_stream(ada: Person, echo: dict, worker: HandWorker, anonymous: httpx.Client) -> None:
    where = ended(ada, text=" a\nb", chunks=2)["urls"]["stream"]
    answer = anonymous.get(where, headers={"Accept": "text/event-stream", "Cache-Control": "no-store"})
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    begun, *events = answer.text.strip().split("\n\n")
    assert begun.startswith(":"), "a keep-alive is a comment"
    shapes = [re.sub(r"id: \d{10}:(\d+)", r"id: \1", event) for event in events]
    assert shapes == [
        "event: output\nid: 0\ndata:  a\ndata: b",
        "event: output\nid: 1\ndata:  a\ndata: b",
        "event: done\nid: 2\ndata: {}",
    ]


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("cancel", [("done", '{"reason": "canceled"}')]),
        ("fail", [("error", '{"detail": "It was asked to fail."}'), ("done", '{"reason": "error"}')]),
    ],
)
def test_how_a_stream_ends_otherwise(
    ada: Person, echo: dict, act: str, told: list, request: pytest.FixtureRequest
) -> None:
    made = ada.run("ada/echo", fail=act == "fail")
    if act == "cancel":
        ada.http.post(made["urls"]["cancel"])
    else:
        request.getfixturevalue("worker")
    found = re.findall(
        r"event: (\w+)\nid: \d+:\d+\ndata: (.*)\n", httpx.get(made["urls"]["stream"], trust_env=False).text
    )
    assert found == told


def test_the_page_of_a_prediction_is_there_and_gives_nothing_away(
    ada: Person, echo: dict, anonymous: httpx.Client
) -> None:
    made = ada.run("ada/echo", text="my secret")
    page = anonymous.get(made["urls"]["web"], headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "my secret" not in page.text


def test_a_prediction_that_does_not_stream_has_no_stream_url_not_even_a_null() -> None:
    assert UrlsOut(get="g", cancel="c", web="w").model_dump() == {"get": "g", "cancel": "c", "web": "w"}
