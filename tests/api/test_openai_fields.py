"""What OpenAI's clients and the frameworks on top of them send: nulls, unknown fields, their own dumps of
messages, tools, and names of models."""

import base64
import struct
from typing import Any

import openai
import pytest

USER = {"role": "user", "content": "Hello"}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}},
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
}
NULLS = (
    *("tools", "functions", "function_call", "tool_choice", "response_format", "logprobs", "top_logprobs"),
    *("min_p", "reasoning_effort", "audio", "prediction", "web_search_options", "verbosity", "modalities"),
    *("stream_options", "logit_bias", "user", "metadata", "store", "made_up_by_a_client"),
)


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "images/generations"])
def test_a_null_is_as_if_the_field_were_not_there(api, ada, worker, talker, path) -> None:
    body = {
        "chat/completions": {"messages": [USER]},
        "completions": {"prompt": "x", "min_p": None},
        "embeddings": {"input": "x", "input_type": None, "user": None},
        "images/generations": {"prompt": "x"},
    }[path]
    model = talker(chunks=0, answer=[[1.0, 0.0]])
    nulls = dict.fromkeys(NULLS)
    answer = ada.http.post(f"/v1/{path}", json={**nulls, "model": model, **body})
    if path == "images/generations":  # it has no files to answer with
        assert answer.json()["error"]["param"] == "model"
    else:
        assert answer.status_code == 200, answer.text
    assert "ignored-fields" not in answer.headers


def test_harmless_fields_are_ignored_and_named_others_are_refused_by_name(api, ada, worker, talker) -> None:
    body = {"model": talker(), "messages": [USER], "store": True, "user": "me", "metadata": {"a": "b"}}
    answer = ada.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert set(answer.headers["ignored-fields"].split(", ")) == {"store", "user", "metadata"}
    for name in ("min_p", "web_search_options", "made_up"):
        refused = ada.http.post("/v1/chat/completions", json={**body, name: 0.5})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    biased = ada.http.post("/v1/chat/completions", json={**body, "presence_penalty": 1})
    assert biased.json()["error"]["param"] == "presence_penalty", "this model does not have it"
    assert ada.http.post("/v1/chat/completions", json={**body, "presence_penalty": 0}).status_code == 200


def test_the_clients_own_dump_of_an_answer_is_taken_back_as_history(api, ada, worker, talker, remote) -> None:
    client, model = remote(api, ada), talker(answer=["So be it."], chunks=0)
    history: list[Any] = [USER]
    for _ in range(2):
        answer = client.chat.completions.create(model=model, messages=history)
        history += [answer.choices[0].message.model_dump(), USER]
    (last, _) = ada.http.get("/v1/predictions").json()["results"]
    assert [message["content"] for message in last["input"]["messages"]] == ["Hello", "So be it.", "Hello"]


def test_what_frameworks_put_into_messages_is_taken_when_it_is_empty_or_harmless(
    api, ada, worker, talker
) -> None:
    assistant = {
        "role": "assistant",
        "content": "a",
        "tool_calls": [],
        "reasoning_content": "",
        "annotations": [],
        "audio": None,
        "function_call": None,
        "provider_specific_fields": {"x": 1},
    }
    parts = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "b"},
    ]
    messages = [USER, assistant, {"role": "user", "content": parts}]
    answer = ada.http.post("/v1/chat/completions", json={"model": talker(), "messages": messages})
    assert answer.status_code == 200, answer.text
    assert set(answer.headers["ignored-fields"].split(", ")) == {
        "messages.1.provider_specific_fields",
        "messages.2.content.0.cache_control",
    }
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["messages"][1:] == [
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "ab"},
    ]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "messages.0.content.0.type"),
        ({"content": "a", "audio": {"id": "x"}}, "messages.0.audio"),
        ({"content": 5}, "messages.0.content"),
        ({"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "messages.0.tool_calls.0.function"),
    ],
)
def test_what_cannot_be_used_in_a_message_is_refused_by_name(api, ada, talker, message, param) -> None:
    body = {"model": talker(), "messages": [{"role": "assistant", **message}]}
    error = ada.http.post("/v1/chat/completions", json=body).json()["error"]
    assert error["param"].startswith(param)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_thoughts_and_reasons_reach_the_client(api, ada, worker, talker, remote, stream) -> None:
    pieces = [{"reasoning_content": "Hm."}, "I ask.", {"tool_calls": [CALL]}, {"tool_calls": [CALL]}]
    model = talker(chunks=0, answer=pieces, finish_reason="tool_calls")
    answer = remote(api, ada).chat.completions.create(
        model=model, messages=[USER], tools=[TOOL], tool_choice="required", stream=stream
    )
    if stream:
        deltas = [event.choices[0] for event in answer]
        content = "".join(each.delta.content or "" for each in deltas)
        calls = [call for each in deltas for call in each.delta.tool_calls or ()]
        assert [call.index for call in calls] == [0, 1]
        thoughts = "".join(getattr(each.delta, "reasoning_content", None) or "" for each in deltas)
        reason = deltas[-1].finish_reason
    else:
        message = answer.choices[0].message
        content, calls, thoughts = message.content, message.tool_calls, message.reasoning_content
        reason = answer.choices[0].finish_reason
    assert (content, thoughts, reason) == ("I ask.", "Hm.", "tool_calls")
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("weather", '{"city": "Paris"}')
    ] * 2
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["tool_choice"] == "required"
    assert prediction["input"]["tools"][0]["function"]["name"] == "weather"


def test_tool_results_go_back_with_the_call_they_answer(api, ada, worker, talker) -> None:
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    answer = ada.http.post("/v1/chat/completions", json={"model": talker(), "messages": messages})
    assert answer.status_code == 200
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    _, assistant, tool = prediction["input"]["messages"]
    assert assistant["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
    assert tool == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_a_chat_cannot_have_is_refused_by_name(api, ada, talker, fields, param) -> None:
    body = {"model": talker(), "messages": [USER], **fields}
    answer = ada.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_older_functions_are_tools_and_are_answered_in_their_own_form(
    api, ada, worker, talker, remote
) -> None:
    model = talker(chunks=0, answer=[{"tool_calls": [CALL]}], finish_reason="tool_calls")
    answer = remote(api, ada).chat.completions.create(
        model=model, messages=[USER], functions=[TOOL["function"]], function_call={"name": "weather"}
    )
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.function_call.name) == ("function_call", "weather")


TOKENS = [
    {"token": "a", "logprob": None, "bytes": [97], "top": []},
    {"token": "b", "logprob": -0.5, "bytes": [98], "top": [{"token": "b", "logprob": -0.5, "bytes": [98]}]},
]


def test_log_probabilities_have_the_form_of_each_kind_of_completion(api, ada, worker, talker, remote) -> None:
    client = remote(api, ada)
    model = talker(chunks=0, answer=[{"content": "ab", "logprobs": TOKENS}])
    text = client.completions.create(model=model, prompt="x", logprobs=1).choices[0].logprobs
    assert text.tokens == ["a", "b"]
    assert text.token_logprobs == [None, -0.5]
    assert text.text_offset == [0, 1]
    assert text.top_logprobs == [None, {"b": -0.5}]
    chat = client.chat.completions.create(model=model, messages=[USER], logprobs=True, top_logprobs=1)
    assert chat.choices[0].logprobs.content[1].top_logprobs[0].token == "b"
    events = client.completions.create(model=model, prompt="x", logprobs=1, stream=True)
    streamed = [event.choices[0].logprobs for event in events]
    assert [each.tokens for each in streamed if each] == [["a", "b"]]


def test_token_ids_are_refused_with_the_clients_switch_unless_they_are_said_to_be_the_models_own(
    api, ada, worker, talker
) -> None:
    model = talker(chunks=0, answer=[[1.0, 0.0]])
    for ids in ([1, 2], [[1, 2], [3]]):
        refused = ada.http.post("/v1/embeddings", json={"model": model, "input": ids})
        assert refused.status_code == 400
        assert "check_embedding_ctx_length=False" in refused.json()["error"]["message"]
    own = ada.http.post("/v1/embeddings", json={"model": model, "input": [1], "token_ids": True})
    assert "input" in own.json()["error"]["param"], "this model's schema takes texts only"


def test_a_blank_text_fails_no_list_and_both_encodings_are_the_same_numbers(api, ada, worker, talker) -> None:
    model = talker(chunks=0, answer=[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    floats, encoded = (
        ada.http.post(
            "/v1/embeddings", json={"model": model, "input": ["a", "", " "], "encoding_format": form}
        ).json()["data"]
        for form in ("float", "base64")
    )
    for number, text in zip(floats, encoded, strict=True):
        raw = base64.b64decode(text["embedding"])
        assert struct.pack("<2f", *number["embedding"]) == raw


@pytest.mark.parametrize("form", ["float", "base64"])
def test_a_vector_that_holds_no_numbers_is_an_error_and_no_list_of_nulls(
    api, ada, worker, talker, form
) -> None:
    model = talker(chunks=0, answer=[[None, None]])
    answer = ada.http.post("/v1/embeddings", json={"model": model, "input": "a", "encoding_format": form})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_failed")
    assert "not finite" in answer.json()["error"]["message"]


def test_models_are_called_by_name_alias_and_bare_name(
    start_server, ada, bob, worker, remote, database
) -> None:
    server = start_server(model_aliases="gpt-4o=ada/parrot,a/b=ada/parrot")
    ada.model("parrot", visibility="public")
    client = remote(server, bob)
    for name in ("ada/parrot", "parrot", "gpt-4o", "parrot:latest", "ada/parrot:latest", "a/b"):
        assert client.models.retrieve(name).id == "ada/parrot"
        with pytest.raises(openai.BadRequestError, match="takes no `prompt`"):  # found, though an echo
            client.completions.create(model=name, prompt="x")
    bob.model("parrot")
    assert client.models.retrieve("parrot").id in ("bob/parrot", "ada/parrot"), "names are kept for a moment"
    assert remote(server, ada).models.retrieve("parrot").id == "ada/parrot", "one's own comes first"


def test_a_bare_name_that_means_several_models_says_which(api, ada, bob, make_person, remote) -> None:
    ada.model("twin", visibility="public")
    bob.model("twin", visibility="public")
    client = remote(api, make_person())
    with pytest.raises(openai.NotFoundError, match="bob/twin, ada/twin"):
        client.chat.completions.create(model="twin", messages=[USER])


def test_openais_client_reads_the_errors_of_shared_addresses_too(api, ada, remote) -> None:
    with pytest.raises(openai.AuthenticationError) as stranger:
        remote(api, None).models.list()
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as absent:
        remote(api, ada).models.retrieve("no-such")
    assert absent.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError) as file:
        remote(api, ada).files.retrieve("none")
    assert file.value.type == "invalid_request_error"
    plain = ada.http.get("/v1/models/no/such").json()
    assert plain["detail"] == plain["error"]["message"], "other clients find both forms"
    assert "error" not in ada.http.get("/v1/predictions/x").json()
