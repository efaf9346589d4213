"""What the Python client does step by step: repeated requests, and which worker a session is with."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from lovage.client import Client
from lovage.errors import LovageError, Refused, Unreachable
from lovage.flow import KEY, Answer, Flow, Pause, Request, as_error, asked_for, create, send
from lovage.placement import Options, Placement
from lovage.sessions import Connect, call_worker

SESSION = {
    "address": "w1:8081",
    "token": "t",
    "worker": "cpu@w1",
    "model": "a/b",
    "version": "v",
    "expires_at": "2099-01-01T00:00:00Z",
}


def carry_out(flow: Flow[Any], answers: Iterable[Any]) -> tuple[Any, list[Any]]:
    """(outcome, steps) of a flow whose steps but pauses have these outcomes; errors are thrown."""
    left, steps = iter(answers), []
    try:
        step = next(flow)
        while True:
            steps.append(step)
            if isinstance(step, Pause):
                step = flow.send(None)
            elif isinstance(outcome := next(left), LovageError):
                step = flow.throw(outcome)
            else:
                step = flow.send(outcome(step) if isinstance(outcome, Callable) else outcome)  # type: ignore[arg-type]
    except StopIteration as end:
        return end.value, steps


def no(status: int, code: str = "unavailable", **headers: str) -> Answer:
    return Answer(status, {"code": code, "detail": "no"}, headers)


YES = Answer(200, {"id": "1"}, {})


def test_a_creation_is_sent_again_with_the_same_key_after_as_long_as_the_server_says() -> None:
    answers = [Unreachable("gone"), no(503, **{"retry-after": "7"}), YES]
    data, steps = carry_out(send(create("/v1/predictions", {})), answers)
    requests = [step for step in steps if isinstance(step, Request)]
    assert data == {"id": "1"}
    assert len({request.headers[KEY] for request in requests}) == 1
    assert [step.seconds for step in steps if isinstance(step, Pause)][1] == 7


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Request("POST", "/v1/sessions"), no(503)),
        (Request("GET", "/v1/models"), no(404, "not_found")),
        (Request("PUT", "/v1/part"), no(429, "quota_exceeded")),
    ],
)
def test_what_cannot_help_or_must_not_be_sent_twice_is_not(request_: Request, answer: Answer) -> None:
    with pytest.raises(Refused) as refused:
        carry_out(send(request_), [answer])
    assert refused.value.code == answer.data["code"]


def test_a_session_leaves_a_dead_worker_for_another_and_names_it() -> None:
    placement = Placement(Options("a/b"))
    other = Answer(201, {**SESSION, "worker": "cpu@w2"}, {})
    dead = Unreachable("gone", code="unavailable")
    answers = [Answer(201, SESSION, {}), "first", dead, other, "second", "output"]
    output, steps = carry_out(call_worker(placement, "predict", ()), answers)
    assert (output, placement.info and placement.info.worker) == ("output", "cpu@w2")
    asked = [step.json.get("exclude") for step in steps if isinstance(step, Request)]
    assert asked == [None, ["cpu@w1"]]


def test_a_worker_without_capacity_is_asked_again_and_other_refusals_are_raised() -> None:
    full = Refused("full", code="resource_exhausted", retry_after=0.5)
    answers = [Answer(201, SESSION, {}), "worker", full, "output"]
    output, steps = carry_out(call_worker(Placement(Options("a/b")), "predict", ()), answers)
    assert (output, [step.seconds for step in steps if isinstance(step, Pause)]) == ("output", [0.5])
    wrong = Refused("text: must be a text", code="invalid_argument")
    with pytest.raises(Refused, match="must be a text"):
        carry_out(
            call_worker(Placement(Options("a/b")), "predict", ()), [Answer(201, SESSION, {}), "worker", wrong]
        )


def test_an_expired_token_is_replaced_at_the_same_worker() -> None:
    placement = Placement(Options("a/b"))
    late = Answer(201, {**SESSION, "expires_at": "2020-01-01T00:00:00Z"}, {})
    carry_out(placement.place(Connect), [late, "worker"])
    worker, steps = carry_out(placement.place(Connect), [Answer(201, SESSION, {}), "again"])
    assert (worker, steps[0].json.get("exclude")) == ("again", None)


def test_where_no_worker_takes_direct_calls_http_is_used_for_a_while() -> None:
    placement = Placement(Options("a/b"))
    assert carry_out(placement.place(Connect), [no(503)])[0] is None
    assert carry_out(placement.place(Connect), [])[1] == [], "nobody is asked again so soon"
    without_grpc = Placement(Options("a/b"))
    assert carry_out(without_grpc.place(Connect), [Answer(201, SESSION, {}), None])[0] is None


@pytest.mark.parametrize(("tries", "requests"), [(1, 1), (3, 3)])
def test_a_client_tries_as_often_as_its_tries_say(tries: int, requests: int) -> None:
    count = 0

    def busy() -> Flow[Any]:
        nonlocal count
        for number in range(1, 9):
            try:
                yield Pause(0, Refused("busy", status=503), number)
            finally:
                count += 1
        return "answered"

    with Client("http://127.0.0.1:9", tries=tries) as client, pytest.raises(Refused, match="busy"):
        client.carry_out(busy())
    assert count == requests


def test_a_redirection_is_no_success() -> None:
    with pytest.raises(Refused, match="answered 301"):
        carry_out(send(Request("GET", "/v1/models")), [Answer(301, None, {})])


@pytest.mark.parametrize("url", ["http://[::1", "localhost:8000"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(LovageError, match=r"URL|http://") as refused:
        Client(url)
    assert refused.value.code == "wrong_url"


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (
            Request("POST", "/v1/predictions", json={"version": "a/b", "input": {}}),
            "The model could not be found: a/b.",
        ),
        (Request("GET", "/v1/models/a/b"), "The model could not be found: a/b."),
        (Request("GET", "/v1/models/a/b/versions/1"), "The model could not be found: a/b."),
        (Request("GET", "/v1/predictions/1"), "The model could not be found."),
    ],
)
def test_a_model_that_is_not_there_is_named_as_its_caller_named_it(request_: Request, sentence: str) -> None:
    answer = Answer(404, {"detail": "The model could not be found.", "code": "not_found"}, {})
    assert str(as_error(answer, asked_for(request_))) == sentence
