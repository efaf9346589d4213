"""How families of models write thoughts and calls, read as they come, whatever the pieces are cut like."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.runtimes.text.message_pieces import split_pieces
from app.runtimes.text.response_formats import find_format

TOOLS = [
    {
        "type": "function",
        "function": {"name": "add", "parameters": {"properties": {"n": {"type": "integer"}}}},
    }
]
HERMES = "<tool_call></tool_call><think></think>"
CALL = '{"name": "add", "arguments": {"n": 1}}'
# The marks of a family's chat template, an answer, its text and the numbers that it calls with.
FAMILIES = [
    (HERMES, f"Hi <tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", "Hi ", [1, 1]),
    ("[TOOL_CALLS]", f"[TOOL_CALLS][{CALL}]", "", [1]),
    ("[TOOL_CALLS]", '[TOOL_CALLS]add[ARGS]{"n": 2}[TOOL_CALLS]add[ARGS]{"n": 3}', "", [2, 3]),
    ("<|tool_call|>", f"<|tool_call|>[{CALL}]", "", [1]),
    (
        "<function=",
        "So <tool_call>\n<function=add>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>",
        "So ",
        [5],
    ),
    (
        "<｜tool▁call▁begin｜>",
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"n": 4}\n```<｜tool▁call▁end｜>',
        "",
        [4],
    ),
    (
        'ipython "parameters"',
        '{"name": "add", "parameters": {"n": 6}}; {"name": "add", "parameters": {"n": 7}}',
        "",
        [6, 7],
    ),
]


def split(template: str, text: str, step: int, prompt: str = "", tools: Any = TOOLS) -> tuple[str, str, list]:
    """(text, thoughts, calls) of an answer that comes in pieces of so many characters."""
    pieces = split_pieces(find_format(template, None, has_tools=True), prompt, tools, "x")
    parts = [text[at : at + step] for at in range(0, len(text), step)]
    out = [piece for part in parts for piece in pieces.feed(part)] + pieces.finish()
    calls = [call for piece in out if isinstance(piece, dict) for call in piece.get("tool_calls", ())]
    assert pieces.has_called is bool(calls)
    thoughts = "".join(piece.get("reasoning_content", "") for piece in out if isinstance(piece, dict))
    return "".join(piece for piece in out if isinstance(piece, str)), thoughts, calls


@pytest.mark.parametrize(("template", "answer", "text", "numbers"), FAMILIES)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_each_familys_calls_are_read(template, answer, text, numbers, step) -> None:
    content, _, calls = split(template, answer, step)
    assert content == text
    assert [json.loads(call["function"]["arguments"])["n"] for call in calls] == numbers
    assert {call["function"]["name"] for call in calls} == {"add"}


@pytest.mark.parametrize("step", [1, 5])
def test_thoughts_are_apart_whether_the_model_or_the_template_opens_them(step) -> None:
    assert split(HERMES, "<think>\nHm.\n</think>\n\nYes", step) == ("Yes", "Hm.\n", [])
    assert split(HERMES, "Hm.</think>Yes", step, prompt="assistant:<think>\n") == ("Yes", "Hm.", [])


@pytest.mark.parametrize(
    "answer", ["<tool_call>{broken</tool_call>", '<tool_call>{"name": "ad', "<tool_call>[1]</tool_call>"]
)
def test_a_call_that_cannot_be_read_is_the_text_that_it_is(answer) -> None:
    text, _, calls = split(HERMES, answer, 3)
    assert calls == []
    assert text == answer.removeprefix("<tool_call>").removesuffix("</tool_call>")


def test_without_tools_the_marks_of_calls_mean_nothing() -> None:
    answer = f"<tool_call>{CALL}</tool_call>"
    assert split(HERMES, answer, 4, tools=[]) == (answer, "", [])


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet='<>/thinkool_cal{}[] \n"', max_size=60), st.integers(1, 9))
def test_no_text_breaks_it(text, step) -> None:
    for template in (HERMES, "[TOOL_CALLS]", 'ipython "parameters"'):
        split(template, text, step)
