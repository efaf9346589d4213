"""Anthropic's Messages over what a text model answers: blocks, tools, streams, errors."""

import json
from typing import Any

import httpx
import pytest

USER = {"role": "user", "content": "Hello"}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
PIECES = [{"reasoning_content": "Hm."}, "I ", "ask.", {"tool_calls": [CALL]}]


def body_of(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 5, "messages": [USER], **more}


def events_of(text: str) -> list[dict[str, Any]]:
    """The events of a stream, each named by its type."""
    events = []
    for part in text.strip().split("\n\n"):
        name, data = part.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def test_an_answer_is_blocks_of_thoughts_text_and_calls(api, ada, worker, talker) -> None:
    model = talker(chunks=0, answer=PIECES, finish_reason="tool_calls")
    with httpx.Client(base_url=api.url, headers={"x-api-key": ada.key}) as http:
        answer = http.post("/v1/messages", json=body_of(model, tools=[TOOL], tool_choice={"type": "any"}))
    message = answer.json()
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][1]["text"] == "I ask."
    assert message["content"][2] == {
        "type": "tool_use",
        "id": "call_1",
        "name": "weather",
        "input": {"city": "Paris"},
    }
    assert (message["stop_reason"], message["usage"]["input_tokens"]) == ("tool_use", 3)
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["tool_choice"] == "required"
    assert prediction["input"]["max_new_tokens"] == 5


def test_a_stream_begins_and_ends_each_block_and_the_message(api, ada, worker, talker) -> None:
    model = talker(chunks=0, answer=PIECES, finish_reason="tool_calls")
    text = ada.http.post("/v1/messages", json=body_of(model, tools=[TOOL], stream=True)).text
    events = [event for event in events_of(text) if event["type"] != "ping"]
    assert [event["type"] for event in events] == [
        "message_start",
        *("content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    assert [event["index"] for event in events if event["type"] == "content_block_start"] == [0, 1, 2]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert json.loads(events[-4]["delta"]["partial_json"]) == {"city": "Paris"}


def test_history_with_tools_becomes_messages_of_the_chat_template(api, ada, worker, talker) -> None:
    messages = [
        USER,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [{"type": "text", "text": "rain"}],
                },
                {"type": "text", "text": "So?", "cache_control": {"type": "ephemeral"}},
            ],
        },
    ]
    body = body_of(talker(), messages=messages, system=[{"type": "text", "text": "Be brief."}])
    assert ada.http.post("/v1/messages", json=body).status_code == 200
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    system, _, assistant, tool, user = prediction["input"]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Paris"}}
    assert assistant["reasoning_content"] == "Hm."
    assert tool == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}
    assert user == {"role": "user", "content": "So?"}


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            400,
            "invalid_request_error",
            "image",
        ),
        ({"tools": [{"name": "x", "type": "web_search_1"}]}, 400, "invalid_request_error", "tools.0.type"),
        ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tool_choice"),
        ({"top_k": 5}, 400, "invalid_request_error", "top_k"),
        ({"wings": 2}, 400, "invalid_request_error", "wings"),
        ({"model": "ada/none"}, 404, "not_found_error", "ada/none"),
    ],
)
def test_errors_have_anthropics_shape_and_name_the_field(
    api, ada, talker, fields, status, kind, words
) -> None:
    answer = ada.http.post("/v1/messages", json=body_of(talker()) | fields)
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]["type"]) == (
        status,
        "error",
        kind,
    )
    assert words in answer.json()["error"]["message"]


def test_a_wrong_key_and_a_failure_in_mid_stream_have_its_shape(api, ada, worker, talker) -> None:
    stranger = httpx.post(f"{api.url}/v1/messages", json=body_of("x"), headers={"x-api-key": "lov_wrong"})
    assert (stranger.status_code, stranger.json()["error"]["type"]) == (401, "authentication_error")
    text = ada.http.post("/v1/messages", json=body_of(talker(fail=True), stream=True)).text
    assert events_of(text)[-1] == {
        "type": "error",
        "error": {"type": "api_error", "message": "It was asked to fail."},
    }
