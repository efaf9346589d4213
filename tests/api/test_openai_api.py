"""OpenAI's API when things go wrong, through its official client: error classes, failures in mid-stream,
callers that leave."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from api_hand_worker import HandWorker

from app.api.model_calls import answer_stream

MESSAGES = [{"role": "user", "content": "Hello"}]
Remote = Callable[..., openai.OpenAI]


def calls(client: openai.OpenAI, model: str) -> dict[str, Callable[[], Any]]:
    """One call of each kind."""
    return {
        "completion": lambda: client.completions.create(model=model, prompt="x"),
        "chat": lambda: client.chat.completions.create(model=model, messages=MESSAGES),  # type: ignore[arg-type, misc]
        "streamed chat": lambda: client.chat.completions.create(model=model, messages=MESSAGES, stream=True),  # type: ignore[arg-type, misc]
        "embeddings": lambda: client.embeddings.create(model=model, input="x"),
        "images": lambda: client.images.generate(model=model, prompt="x"),
    }


KINDS = tuple(calls(None, ""))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_an_absent_model_and_a_weak_key_are_told_apart(
    api, ada, make_person, talker, remote, kind
) -> None:
    model = talker()
    with pytest.raises(openai.AuthenticationError) as unknown:
        calls(remote(api, None), model)[kind]()
    assert (unknown.value.type, unknown.value.code) == ("invalid_request_error", "invalid_api_key")
    with pytest.raises(openai.NotFoundError) as absent:
        calls(remote(api, ada), "ada/nothing")[kind]()
    assert (absent.value.code, absent.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        calls(remote(api, make_person(scopes=("models",))), model)[kind]()
    assert forbidden.value.type == "permission_error"
    assert all(error.value.message and error.value.body for error in (unknown, absent, forbidden))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_not_available_is_an_internal_server_error_of_503(
    api, ada, worker, talker, remote, kind
) -> None:
    model = talker(fail=True, code="model_unavailable", chunks=0)
    with pytest.raises(openai.InternalServerError) as raised:
        calls(remote(api, ada), model)[kind]()
    assert (raised.value.status_code, raised.value.type, raised.value.code) == (
        503,
        "server_error",
        "model_unavailable",
    )
    assert "asked to fail" in raised.value.message


def test_a_model_that_fails_is_a_500_with_its_sentence(api, ada, worker, talker, remote) -> None:
    with pytest.raises(openai.InternalServerError, match="asked to fail") as raised:
        remote(api, ada).completions.create(model=talker(fail=True), prompt="x")
    assert (raised.value.status_code, raised.value.code) == (500, "model_failed")


def test_a_limit_is_a_rate_limit_error_that_says_when(start_server, ada, talker, remote) -> None:
    limited = remote(start_server(rate_limit_creates="1/minute"), ada)
    model = talker(seconds=0)
    with pytest.raises(openai.APITimeoutError):
        limited.with_options(timeout=2).completions.create(model=model, prompt="x")  # nobody runs it
    with pytest.raises(openai.RateLimitError) as raised:
        limited.completions.create(model=model, prompt="x")
    assert (raised.value.type, raised.value.code) == ("rate_limit_error", "rate_limit_exceeded")
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 60


def test_too_large_a_body_and_a_wrong_type_have_openais_shape_too(api, ada, talker, remote) -> None:
    with pytest.raises(openai.APIStatusError) as large:
        remote(api, ada).completions.create(model=talker(), prompt="x" * 1_000_001)
    assert (large.value.status_code, large.value.code) == (413, "payload_too_large")
    for headers, status in (({"Content-Encoding": "br"}, 415), ({"Content-Type": "text/plain"}, 415)):
        answer = ada.http.post("/v1/chat/completions", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")
    broken = ada.http.post("/v1/embeddings", content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, set(broken.json()["error"])) == (400, {"message", "type", "param", "code"})


def test_parts_of_openais_api_that_are_not_there_say_what_is(api, ada, remote) -> None:
    with pytest.raises(openai.NotFoundError, match="docs/reference") as raised:
        remote(api, ada).batches.list()
    assert raised.value.code == "not_found"
    with pytest.raises(openai.NotFoundError, match="docs/reference"):
        remote(api, ada).vector_stores.list()


def test_a_failure_in_mid_stream_is_raised_by_the_client(api, ada, worker, talker, remote) -> None:
    pieces: list[str] = []
    stream = remote(api, ada).completions.create(model=talker(fail=True, chunks=3), prompt="a ", stream=True)
    with pytest.raises(openai.APIError, match="asked to fail") as raised:
        pieces.extend(event.choices[0].text for event in stream)
    assert pieces == ["a "] * 3
    assert (raised.value.code, raised.value.type) == ("model_failed", "server_error")


def test_a_cancel_in_mid_stream_is_raised_by_the_client(api, ada, worker, talker, remote) -> None:
    stream = remote(api, ada).completions.create(model=talker(seconds=1, chunks=1), prompt="a", stream=True)
    ada.http.post(f"/v1/predictions/{next(stream).id.removeprefix('cmpl-')}/cancel")
    with pytest.raises(openai.APIError, match="cancel") as raised:
        next(stream)
    assert raised.value.code == "canceled"


def test_a_stream_that_waits_long_is_kept_alive_by_comments(
    api, ada, talker, remote, api_settings, monkeypatch
) -> None:
    monkeypatch.setattr(answer_stream, "SILENT_SECONDS", 0.1)
    body = {"model": talker(chunks=2), "prompt": "a ", "stream": True}
    with ada.http.stream("POST", "/v1/completions", json=body) as answer:  # answered while nobody runs it
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": waiting", ""] * 2
        with HandWorker(api_settings):
            rest = [line for line in lines if line.startswith("data")]
    assert (len(rest), rest[-1]) == (4, "data: [DONE]")
    with HandWorker(api_settings):
        stream = remote(api, ada).completions.create(
            model=talker(seconds=0.5, chunks=1), prompt="b", stream=True
        )
        assert "".join(event.choices[0].text for event in stream) == "b", "its client does not mind"


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_called_is_canceled_when_its_caller_leaves(api, ada, talker, remote, kind) -> None:
    client = remote(api, ada).with_options(timeout=0.4)
    with pytest.raises(openai.APITimeoutError):
        calls(client, talker())[kind]()  # nobody runs it
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    ended = ada.http.get(f"/v1/predictions/{prediction['id']}", headers={"Prefer": "wait=10"}).json()
    assert (ended["status"], ended["source"]) == ("canceled", "openai")


@pytest.mark.parametrize("kind", ["embeddings", "chat"])
def test_every_call_is_on_record_with_its_usage(api, ada, worker, talker, remote, kind) -> None:
    model = talker(chunks=0, answer=[[1.0, 0.0]])
    answer = calls(remote(api, ada), model)[kind]()
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert (prediction["source"], prediction["model"], prediction["status"]) == ("openai", model, "succeeded")
    assert answer.usage.prompt_tokens == prediction["metrics"]["prompt_tokens"] == 3


def test_more_models_than_a_page_are_all_listed(api, ada, echo, remote) -> None:
    for n in range(104):
        assert ada.http.post("/v1/models", json={"name": f"m{n}"}).status_code == 201
    assert len({model.id for model in remote(api, ada).models.list()}) == 105
    first = ada.http.get("/v1/models").json()
    assert (len(first["results"]), len(first["data"])) == (100, 105)
    second = ada.http.get(first["next"]).json()
    assert (len(second["results"]), len(second["data"]), second["next"]) == (5, 5, None)
