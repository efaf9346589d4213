"""Ollama's API as its clients call it: lines of JSON, options, embeddings, the catalogue, errors."""

import json
from typing import Any

import pytest

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
PIECES = [{"reasoning_content": "Hm."}, "I ", "ask.", {"tool_calls": [CALL]}]
USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_chat_is_answered_whole_with_thoughts_and_calls(ada, worker, talker) -> None:
    model = talker(chunks=0, answer=PIECES, finish_reason="tool_calls")
    body = {"model": f"{model}:latest", "messages": [USER], "tools": [TOOL], "stream": False}
    answer = ada.http.post("/api/chat", json={**body, "options": {"num_predict": 5, "num_ctx": 2048}})
    assert answer.headers["ignored-fields"] == "options.num_ctx"
    message = answer.json()["message"]
    assert (message["content"], message["thinking"]) == ("I ask.", "Hm.")
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Paris"}}
    assert (answer.json()["done"], answer.json()["done_reason"]) == (True, "stop")
    assert answer.json()["prompt_eval_count"] == 3
    assert answer.json()["total_duration"] >= answer.json()["eval_duration"]
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["max_new_tokens"] == 5
    assert prediction["input"]["tools"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
def test_a_body_is_read_as_json_whatever_it_says_that_it_is(ada, worker, talker, headers) -> None:
    body = json.dumps({"model": talker(chunks=0, answer=PIECES), "messages": [USER], "stream": False})
    answer = ada.http.post("/api/chat", content=body, headers=headers)
    assert (answer.status_code, answer.json().get("done")) == (200, True), answer.text
    assert ada.http.post("/api/chat", content=b"model=x", headers=headers).status_code == 400


def test_a_stream_is_lines_of_which_the_last_is_done(ada, worker, talker) -> None:
    answer = ada.http.post("/api/chat", json={"model": talker(chunks=0, answer=PIECES), "messages": [USER]})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = lines_of(answer.text)
    assert "".join(line["message"]["content"] for line in lines) == "I ask."
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert "eval_count" in lines[-1]
    assert "eval_count" not in lines[0]


def test_a_prompt_goes_through_the_template_unless_it_is_raw(ada, worker, talker) -> None:
    model = talker(chunks=0, answer=["So."])
    body = {"model": model, "prompt": "Hello", "stream": False}
    assert ada.http.post("/api/generate", json={**body, "system": "Be brief."}).json()["response"] == "So."
    assert ada.http.post("/api/generate", json={**body, "raw": True}).json()["response"] == "So."
    raw, templated = ada.http.get("/v1/predictions").json()["results"]
    assert raw["input"]["prompt"] == "Hello"
    assert templated["input"]["messages"] == [{"role": "system", "content": "Be brief."}, USER]


def test_texts_are_embedded_by_the_new_and_the_older_call(ada, worker, talker) -> None:
    model = talker(chunks=0, answer=[[1.0, 0.0], [0.0, 1.0]])
    body = {"model": model, "input": ["a", "b"], "truncate": True, "keep_alive": "5m"}
    answer = ada.http.post("/api/embed", json=body)
    assert answer.json()["embeddings"] == [[1.0, 0.0], [0.0, 1.0]]
    assert answer.headers["ignored-fields"] == "keep_alive"
    older = ada.http.post("/api/embeddings", json={"model": model, "prompt": "a"})
    assert older.json() == {"embedding": [1.0, 0.0]}


def test_the_catalogue_lists_and_shows_what_the_caller_may_see(ada, bob, talker) -> None:
    model = talker()
    (tag,) = ada.http.get("/api/tags").json()["models"]
    assert (tag["name"], tag["model"], len(tag["digest"])) == (f"{model}:latest", f"{model}:latest", 64)
    assert tag["details"]["family"] == "talker"
    assert bob.http.get("/api/tags").json() == {"models": []}
    shown = ada.http.post("/api/show", json={"model": tag["name"]}).json()
    assert shown["capabilities"] == ["completion"]
    assert bob.http.post("/api/show", json={"model": model}).status_code == 404
    assert ada.http.get("/api/ps").json() == {"models": []}
    assert ada.http.get("/api/version").json()["version"]


@pytest.mark.parametrize(
    ("path", "fields", "status", "words"),
    [
        ("chat", {"messages": [USER], "options": {"mirostat": 2}}, 400, "options.mirostat"),
        ("chat", {"messages": [USER], "options": {"top_k": 3}}, 400, "options.top_k"),
        ("chat", {"messages": [USER], "format": "json"}, 400, "format"),
        ("chat", {"messages": [{**USER, "images": ["x"]}]}, 400, "messages.0.images"),
        ("chat", {"messages": []}, 400, "messages"),
        ("chat", {"messages": [USER], "wings": 2}, 400, "wings"),
        ("generate", {"prompt": "x", "suffix": "y"}, 400, "suffix"),
        ("generate", {"prompt": "x", "suffix": "y", "system": "z"}, 400, "suffix"),
        ("generate", {"prompt": ""}, 400, "prompt"),
        ("generate", {"prompt": "x", "model": "ada/none"}, 404, "ada/none"),
        ("embed", {"input": ["x"], "truncate": False}, 400, "truncate"),
        ("embed", {"input": ["x"], "options": {"temperature": 1}}, 400, "options.temperature"),
        ("pull", {}, 404, ""),
    ],
)
def test_errors_are_a_sentence_that_names_the_field(ada, talker, path, fields, status, words) -> None:
    answer = ada.http.post(f"/api/{path}", json={"model": talker(), **fields})
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]


def test_a_failure_in_mid_stream_is_a_line(ada, worker, talker) -> None:
    text = ada.http.post("/api/chat", json={"model": talker(fail=True), "messages": [USER]}).text
    assert lines_of(text)[-1] == {"error": "It was asked to fail."}
