"""What an answer may be asked to be: JSON by a schema, a tool call, thoughts apart, log probabilities, a
continuation. Grammars and parsing change nothing for neighbours in the batch."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import validate
from running import jobs, load, outputs, run

from app.domain.work import Finished
from app.runtimes.base import Runtime
from app.runtimes.demo import SHIPPED
from app.runtimes.text.closed_objects import close_objects

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "kind": {"enum": ["whale", "cat"]}},
    "required": ["name", "kind"],
    "additionalProperties": False,
}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 99}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"n": NUMBER},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("add", "take")
]
HELLO = [{"role": "user", "content": "Hello"}]
# Qwen's and Hermes' way to write thoughts and calls; what it is given as tools is in the prompt.
TEMPLATE = """{%- if tools %}{{ 'tools: ' + tools | tojson + '\\n' }}{% endif -%}
{%- for message in messages -%}
{{- message.role + ': ' + message.content -}}
{%- for call in message.tool_calls or [] -%}
<tool_call>{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>
{%- endfor -%}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}assistant:{% if enable_thinking %}<think>
{% else %}<think></think>{% endif %}{%- endif -%}"""


@pytest.fixture(scope="session")
def caller(tmp_path_factory) -> Runtime:
    """The model of words with a template that has tools and thoughts."""
    folder = Path(shutil.copytree(SHIPPED / "words", tmp_path_factory.mktemp("caller") / "model"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return load("text-generation", folder, config={"chat_template_kwargs": {"enable_thinking": False}})


def ended(runtime: Runtime, values: dict[str, Any], folder: Path) -> Finished:
    endings, _ = run(runtime, jobs(runtime, [values], folder))
    ending = endings["0"]
    assert isinstance(ending, Finished)
    return ending


def test_every_json_answer_fits_its_schema_and_neighbours_say_what_they_say_alone(
    words: Runtime, tmp_path: Path
) -> None:
    plain = {"prompt": "The whale", "temperature": 0.9, "seed": 3, "max_new_tokens": 30}
    [alone] = outputs(words, [plain], tmp_path)
    asked = [
        {"prompt": "x", "json_schema": SCHEMA, "temperature": 1.5, "seed": seed, "max_new_tokens": 400}
        for seed in range(12)
    ]
    *answers, beside = outputs(words, [*asked, plain], tmp_path)
    for answer in answers:
        validate(json.loads("".join(answer)), SCHEMA)
    assert beside == alone


@pytest.mark.parametrize(
    ("schema", "is_closed"),
    [
        ({"properties": {"n": {}}, "required": ["n"]}, True),
        ({"properties": {"n": {}}, "additionalProperties": True}, False),
        ({"properties": {"n": {}}, "required": ["m"]}, False),
        ({"properties": {"n": {}}, "minProperties": 2}, False),
        ({"properties": {"n": {}}, "anyOf": [{"required": ["n"]}]}, False),
        ({"allOf": [{"properties": {"n": {}}}, {"properties": {"m": {}}}]}, False),
        ({"type": "object"}, False),
    ],
)
def test_an_object_has_no_other_members_than_its_schema_names_unless_that_could_fit_nothing(
    schema, is_closed
) -> None:
    nested = {"$defs": {"a": schema}, "anyOf": [{"$ref": "#/$defs/a"}, {"type": "array", "items": schema}]}
    closed = close_objects(nested)
    for part in (closed["$defs"]["a"], closed["anyOf"][1]["items"], close_objects(schema)):
        assert (part.get("additionalProperties") is False) is is_closed


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"regex": "[0-9]{3}/[ab]"}, r"\d{3}/[ab]"),
        ({"grammar": 'start: ("yes" | "no") "."'}, r"(yes|no)\."),
    ],
)
def test_expressions_and_grammars_hold_and_end_the_answer(words: Runtime, tmp_path, asked, expected) -> None:
    import re

    ending = ended(words, {"prompt": "x", "temperature": 1, "seed": 1, **asked}, tmp_path)
    assert re.fullmatch(expected, "".join(ending.output))
    assert ending.metrics["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("asked", "words_of_error"),
    [
        ({"json_schema": {"type": "object", "if": {}, "then": {}}}, r"json_schema: cannot be served.*if"),
        ({"json_schema": {"$ref": "http://example.com/x"}}, "json_schema: cannot be served"),
        ({"regex": "(("}, "regex: cannot be served"),
        ({"grammar": "begin: x"}, "grammar: must be a Lark grammar"),
        ({"regex": "a", "grammar": 'start: "a"'}, "only one of"),
        ({"logit_bias": {"9999999": 1}}, "logit_bias: '9999999' is no token id"),
        ({"prompt": [5_000_000]}, "prompt: the model has 4096 ids"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(words: Runtime, tmp_path, asked, words_of_error) -> None:
    with pytest.raises(ValueError, match=words_of_error):
        jobs(words, [{"prompt": "x", **asked}], tmp_path)


@pytest.mark.parametrize(("choice", "names"), [("take", {"take"}), ("required", {"add", "take"})])
def test_a_forced_call_is_one_of_the_tools_with_arguments_that_fit(caller, tmp_path, choice, names) -> None:
    values = {"messages": HELLO, "tools": TOOLS, "tool_choice": choice, "parse_response": True}
    ending = ended(caller, {**values, "temperature": 1.3, "seed": 2, "max_new_tokens": 400}, tmp_path)
    calls = [call for piece in ending.output if isinstance(piece, dict) for call in piece["tool_calls"]]
    assert ending.metrics["finish_reason"] == "tool_calls"
    assert {call["function"]["name"] for call in calls} <= names
    for call in calls:
        assert 0 <= json.loads(call["function"]["arguments"])["n"] <= 99
    assert len({call["id"] for call in calls}) == len(calls)
    once = ended(caller, {**values, "parallel_tool_calls": False, "seed": 2, "temperature": 1.3}, tmp_path)
    assert len(once.output) == 1


def test_tools_are_refused_where_the_template_has_none(words: Runtime, caller: Runtime, tmp_path) -> None:
    with pytest.raises(ValueError, match="tools: the model's chat template has none"):
        jobs(words, [{"messages": HELLO, "tools": TOOLS}], tmp_path)
    with pytest.raises(ValueError, match="among `tools`"):
        jobs(caller, [{"messages": HELLO, "tools": TOOLS, "tool_choice": "dance"}], tmp_path)


def test_results_of_tools_go_through_the_template(caller: Runtime, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"n": 1}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "x"},
    ]
    [job] = jobs(caller, [{"messages": messages, "tools": TOOLS, "echo": True}], tmp_path)
    assert '<tool_call>{"name": "add", "arguments": {"n": 1}}</tool_call>' in job.prepared.echo
    assert "tool: 2" in job.prepared.echo


def test_thoughts_are_apart_and_a_grammar_begins_behind_them(caller: Runtime, tmp_path: Path) -> None:
    values = {"messages": HELLO, "parse_response": True, "chat_template_kwargs": {"enable_thinking": True}}
    thinking = {"temperature": 1, "seed": 1, "max_new_tokens": 8}
    ending = ended(caller, {**values, **thinking}, tmp_path)
    assert all(set(piece) == {"reasoning_content"} for piece in ending.output)
    [job] = jobs(caller, [{**values, "regex": "yes"}], tmp_path)
    matcher = job.prepared.matcher.deep_copy()
    ids = caller._requests._tokenizer("Hm. I see.</think>yes")["input_ids"]  # type: ignore[attr-defined]
    assert matcher.consume_tokens(ids)
    assert matcher.is_accepting()


def test_template_variables_are_set_by_version_and_request_and_unknown_ones_refused(
    caller: Runtime, tmp_path: Path
) -> None:
    off, on = jobs(
        caller,
        [
            {"messages": HELLO, "echo": True},
            {"messages": HELLO, "echo": True, "chat_template_kwargs": {"enable_thinking": True}},
        ],
        tmp_path,
    )
    assert off.prepared.echo.endswith("<think></think>")
    assert on.prepared.echo.endswith("<think>\n")
    with pytest.raises(ValueError, match=r"'mood' is no variable.*enable_thinking"):
        jobs(caller, [{"messages": HELLO, "chat_template_kwargs": {"mood": 1}}], tmp_path)


def test_a_begun_answer_is_continued_unless_a_new_one_is_asked_for(words: Runtime, tmp_path: Path) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "The sea was"}]
    plain, new = jobs(
        words,
        [
            {"messages": begun, "echo": True},
            {"messages": begun, "echo": True, "continue_final_message": False},
        ],
        tmp_path,
    )
    assert plain.prepared.echo.endswith("assistant: The sea was")
    assert new.prepared.echo.endswith("assistant:")
    with pytest.raises(ValueError, match="continue_final_message"):
        jobs(words, [{"messages": HELLO, "continue_final_message": True}], tmp_path)


def test_log_probabilities_are_the_models_own_also_of_a_prompt(words: Runtime, tmp_path: Path) -> None:
    ids = words._requests._tokenizer("The whale is white")["input_ids"]  # type: ignore[attr-defined]
    values = {"prompt": ids, "temperature": 0, "max_new_tokens": 2, "logprobs": 2, "echo": True}
    tokens = [token for piece in ended(words, values, tmp_path).output for token in piece["logprobs"]]
    with torch.inference_mode():
        logits = words._net(input_ids=torch.tensor([ids])).logits[0]  # type: ignore[attr-defined]
    chances = logits.float().log_softmax(-1)
    assert tokens[0]["logprob"] is None
    expected = [chances[at, id_].item() for at, id_ in enumerate(ids[1:])]
    assert [token["logprob"] for token in tokens[1 : len(ids)]] == pytest.approx(expected, abs=1e-4)
    first = tokens[len(ids)]
    assert first["logprob"] == pytest.approx(chances[-1].max().item(), abs=1e-3), "greedy: the likeliest"
    assert [other["logprob"] for other in first["top"]] == sorted(
        (other["logprob"] for other in first["top"]), reverse=True
    )
    assert "".join(token["token"] for token in tokens[: len(ids)]) == "The whale is white"
    only = ended(words, {**values, "max_new_tokens": 0}, tmp_path)
    assert (len(only.output), only.metrics["output_tokens"]) == (1, 0)


def test_penalties_bias_and_min_p_change_what_is_chosen(words: Runtime, tmp_path: Path) -> None:
    base = {"prompt": "The sea", "temperature": 0, "max_new_tokens": 24}
    plain, present, frequent, biased, narrow, sampled = outputs(
        words,
        [
            base,
            {**base, "presence_penalty": 2},
            {**base, "frequency_penalty": 2},
            {**base, "logit_bias": {"262": 100}, "max_new_tokens": 4},
            {**base, "temperature": 2, "seed": 4, "top_k": 0, "top_p": 1, "min_p": 1},
            {**base, "temperature": 2, "seed": 4, "top_k": 0, "top_p": 1},
        ],
        tmp_path,
    )
    assert "".join(plain) not in ("".join(present), "".join(frequent))
    assert len(set(biased)) == 1, "one token only"
    assert narrow == plain, "min_p 1 leaves the likeliest"
    assert sampled != plain


def test_either_of_two_end_tokens_and_a_special_stop_end_the_answer(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED / "words", tmp_path / "two-ends"))
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}')
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 5}))
    model = load("text-generation", folder)
    likely = {"temperature": 0, "max_new_tokens": 9, "logit_bias": {"0": 100}}  # 0 is the tokenizer's
    assert ended(model, {"prompt": "a", **likely}, tmp_path).metrics["finish_reason"] == "stop"
    pad = {"temperature": 0, "max_new_tokens": 9, "logit_bias": {"1": 100}}
    assert ended(model, {"prompt": "a", **pad}, tmp_path).metrics["finish_reason"] == "length"
    stopped = ended(model, {"prompt": "a", **pad, "stop": ["<|pad|>"]}, tmp_path)
    assert (stopped.output, stopped.metrics["finish_reason"]) == ([], "stop")


def test_end_tokens_are_passed_by_on_request_and_stops_are_not(words: Runtime, tmp_path: Path) -> None:
    asked = {"prompt": "a", "temperature": 0, "max_new_tokens": 9, "logit_bias": {"0": 100}}  # 0 ends texts
    assert ended(words, asked, tmp_path).metrics["output_tokens"] == 1
    on = ended(words, {**asked, "ignore_eos": True}, tmp_path)
    assert (on.metrics["output_tokens"], on.metrics["finish_reason"]) == (9, "length")
    stopped = ended(words, {**asked, "ignore_eos": True, "stop": ["<|endoftext|>"]}, tmp_path)
    assert (stopped.metrics["output_tokens"], stopped.metrics["finish_reason"]) == (1, "stop")


def test_a_conversations_answer_may_fill_the_context(words: Runtime, tmp_path: Path) -> None:
    chat, prompt, none = jobs(
        words, [{"messages": HELLO}, {"prompt": "a"}, {"prompt": "a", "max_new_tokens": 0}], tmp_path
    )
    assert chat.prepared.limit == 512 - len(chat.prepared.ids)
    assert (prompt.prepared.limit, none.prepared.limit) == (128, 0)
    assert math.isfinite(chat.length)


def test_a_text_is_filled_in_by_a_model_with_tokens_for_that_and_refused_by_others(
    words: Runtime, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before, behind, middle = "<fim_prefix>", "<fim_suffix>", "<fim_middle>"
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "words")
    tokenizer.add_special_tokens({"additional_special_tokens": [before, behind, middle]})
    net = AutoModelForCausalLM.from_pretrained(SHIPPED / "words")
    net.resize_token_embeddings(len(tokenizer))
    net.save_pretrained(tmp_path / "coder")
    tokenizer.save_pretrained(tmp_path / "coder")
    coder = load("text-generation", tmp_path / "coder")
    short = {"temperature": 0, "max_new_tokens": 5}
    filled = {"prompt": "The whale", "suffix": " sea.", **short}
    written = {"prompt": f"{before}The whale{behind} sea.{middle}", **short}
    [given, right] = outputs(coder, [filled, written], tmp_path)
    assert given == right != outputs(coder, [{"prompt": "The whale", **short}], tmp_path)[0]
    with pytest.raises(ValueError, match="suffix: this model has no tokens"):
        jobs(words, [filled], tmp_path)
