"""OpenAI's Responses by its own client: created, streamed, retrieved, canceled, continued."""

import time
from typing import Any

import openai
import pytest

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
PIECES = [{"reasoning_content": "Hm."}, "I ", "ask.", {"tool_calls": [CALL]}]
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}


@pytest.fixture
def client(api, ada, worker, remote) -> openai.OpenAI:
    return remote(api, ada)


def messages_of_newest(ada) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = ada.http.get("/v1/predictions").json()["results"][0]["input"]["messages"]
    return messages


def test_a_response_has_thoughts_text_and_calls_as_items(client, ada, talker) -> None:
    response = client.responses.create(
        model=talker(chunks=0, answer=PIECES, finish_reason="tool_calls"),
        input="Weather?",
        instructions="Be brief.",
        tools=[TOOL],  # type: ignore[list-item]
        tool_choice="required",
        max_output_tokens=5,
        metadata={"a": "b"},
    )
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert (response.output_text, response.status) == ("I ask.", "completed")
    assert (response.output[2].call_id, response.output[2].arguments) == ("call_1", '{"city": "Paris"}')  # type: ignore[union-attr]
    assert (response.instructions, response.metadata, response.tool_choice) == (
        "Be brief.",
        {"a": "b"},
        "required",
    )
    assert response.usage is not None
    assert response.usage.input_tokens == 3
    again = client.responses.retrieve(response.id)
    assert again.model_dump() == response.model_dump()
    shown = ada.http.get(f"/v1/predictions/{response.id.removeprefix('resp_')}").json()
    assert "response" not in shown["routing"]


def test_a_stream_adds_up_to_the_response_and_is_the_same_when_it_is_read_again(client, talker) -> None:
    model = talker(chunks=0, answer=PIECES)
    events = list(client.responses.create(model=model, input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 3
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == ["I ", "ask."]
    last = events[-1]
    assert last.type == "response.completed"
    assert client.responses.retrieve(last.response.id).output == last.response.output
    later = list(client.responses.retrieve(last.response.id, stream=True, starting_after=4))
    assert [event.to_dict() for event in later] == [event.to_dict() for event in events[5:]]


def test_a_response_goes_on_from_an_earlier_one_without_its_instructions(client, ada, talker) -> None:
    model = talker(chunks=0, answer=PIECES)
    first = client.responses.create(
        model=model,
        instructions="Be brief.",
        input=[{"role": "system", "content": "You are kind."}, {"role": "user", "content": "Weather?"}],
    )
    assert messages_of_newest(ada)[0]["content"] == "Be brief.\n\nYou are kind."
    result = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    client.responses.create(model=model, input=[result], previous_response_id=first.id)  # type: ignore[list-item]
    system, user, assistant, tool = messages_of_newest(ada)
    assert (system["content"], user["content"]) == ("You are kind.", "Weather?")
    assert (assistant["content"], assistant["reasoning_content"]) == ("I ask.", "Hm.")
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Paris"}}
    assert tool == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


def test_the_items_of_an_answer_may_be_sent_back(client, ada, talker) -> None:
    model = talker(chunks=0, answer=PIECES)
    first = client.responses.create(model=model, input="Weather?")
    items: Any = [{"role": "user", "content": "Weather?"}, *(item.to_dict() for item in first.output)]
    client.responses.create(model=model, input=items)
    _, assistant = messages_of_newest(ada)
    assert (assistant["content"], len(assistant["tool_calls"])) == ("I ask.", 1)


def test_a_response_in_the_background_is_there_under_its_id(client, talker) -> None:
    quick = client.responses.create(model=talker(chunks=1), input="Hello", background=True)
    assert quick.status in ("queued", "in_progress", "completed")
    until = time.monotonic() + 20
    while (quick := client.responses.retrieve(quick.id)).status != "completed":
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_response_that_waits_is_canceled(api, ada, remote, talker) -> None:
    client = remote(api, ada)
    waiting = client.responses.create(model=talker(), input="Hello", background=True)
    assert (waiting.status, waiting.output) == ("queued", [])
    assert client.responses.cancel(waiting.id).status == "cancelled"
    assert client.responses.retrieve(waiting.id).status == "cancelled"


def test_what_is_not_stored_or_deleted_or_another_persons_is_not_found(
    client, api, bob, remote, talker
) -> None:
    model = talker(chunks=1)
    hidden = client.responses.create(model=model, input="Hello", store=False)
    kept = client.responses.create(model=model, input="Hello")
    for asker, response in ((client, hidden), (remote(api, bob), kept)):
        with pytest.raises(openai.NotFoundError):
            asker.responses.retrieve(response.id)
    client.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(kept.id)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.image_url"),
        ({"truncation": "auto"}, "truncation"),
        ({"background": True, "store": False}, "background"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"wings": 2}, "wings"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(ada, talker, fields, param) -> None:
    answer = ada.http.post("/v1/responses", json={"model": talker(), "input": "x"} | fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_a_failure_is_an_error_whole_and_in_a_stream(client, talker) -> None:
    model = talker(fail=True, chunks=1)
    with pytest.raises(openai.APIError, match="asked to fail"):
        client.responses.create(model=model, input="Hello")
    with pytest.raises(openai.APIError, match="asked to fail"):
        list(client.responses.create(model=model, input="Hello", stream=True))
    failed = client.responses.create(model=model, input="Hello", background=True)
    until = time.monotonic() + 20
    while (failed := client.responses.retrieve(failed.id)).status != "failed":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert failed.error is not None
    assert "asked to fail" in failed.error.message
