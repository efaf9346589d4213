"""What an answer must look like: a JSON Schema, a regular expression, a Lark grammar or a forced tool call,
compiled by llguidance into a matcher for each request.

llguidance was measured against xgrammar (docs/lab-log.md): 1 to 3 ms to compile a schema where the other took
up to 570, and no control characters in its strings. The package is an extra of a worker; without it such a
request is refused by name. Nothing here knows the batch: `token_masks` computes the masks of its rows.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from app.runtimes.text.closed_objects import close_objects
from app.runtimes.text.response_formats import ForcedCall, ResponseFormat

KINDS = ("json_schema", "regex", "grammar")  # the inputs of a request that are grammars
MOST_CALLS = 8  # that a forced answer may hold
# Space between the parts of a JSON text is allowed as people write it, and bounded: a small model could go on
# with it for ever.
JSON_OPTIONS = {"whitespace_pattern": r"[\x20\x0A]{0,16}"}
ABSENT = "this worker has no llguidance (pip install llguidance)"


class GrammarCompiler:
    """One for each loaded model. `vocabulary` is the width of its logits, `ends` its end-of-text ids."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._ends = sorted(ends)
        self._ours: Any = None

    def compile(self, kind: str, grammar: Any, thoughts_end: str = "") -> Any:
        """A matcher at its beginning. `thoughts_end`: the prompt has opened thoughts, which end so.

        Raises ValueError that names the input, for what cannot be served.
        """
        return self._matcher(kind, self._after_thoughts(grammar_text(kind, grammar), thoughts_end))

    def compile_calls(
        self, form: ResponseFormat, tools: Sequence[dict[str, Any]], *, several: bool, thoughts_end: str = ""
    ) -> Any:
        """For an answer that must call one of the tools. Raises ValueError."""
        if form.forced is None:
            raise ValueError("tool_choice: how this model writes calls is not known here; only auto and none")
        lark = self._calls_text(form.forced, tools, several=several)
        return self._matcher("tools", self._after_thoughts(lark, thoughts_end))

    def _calls_text(self, form: ForcedCall, tools: Sequence[dict[str, Any]], *, several: bool) -> str:
        calls = []
        for tool in tools:
            function = tool["function"]
            members = {"name": {"const": function["name"]}, form.arguments: arguments_schema(function)}
            calls.append({"properties": members, "required": list(members), "additionalProperties": False})
        schema: dict[str, Any] = {"anyOf": [{"type": "object", **call} for call in calls]}
        most = MOST_CALLS if several else 1
        if form.listed:
            schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": most}
            most = 1
        before, after = self._terminal(form.before), self._terminal(form.after)
        between = ' "; "' if not form.after else ' "\\n"'
        again = f" ({between} call){{0,{most - 1}}}" if most > 1 else ""
        return f"start: call{again}\ncall: {before} object {after}\nobject: {json_rule(schema)}"

    def _terminal(self, text: str) -> str:
        """A text as a terminal of Lark; a mark at its beginning or end that is a special token, as that
        token."""
        mark = text.strip()
        token = self._tokenizer.get_added_vocab().get(mark) if mark else None
        if token is None or not self._is_special(token):
            return json.dumps(text) if text else ""
        before, _, after = text.partition(mark)
        parts = (json.dumps(before) if before else "", f"<[{token}]>", json.dumps(after) if after else "")
        return " ".join(filter(None, parts))

    def _is_special(self, token: int) -> bool:
        return token in self._tokenizer.all_special_ids or bool(
            getattr(self._tokenizer.added_tokens_decoder.get(token), "special", False)
        )

    def _after_thoughts(self, lark: str, end: str) -> str:
        if not end:
            return lark
        renamed = re.sub(r"(?m)^start:", "answer:", lark, count=1)
        return f"start: thoughts answer\n{self._thoughts(end)}\n{renamed}"

    def _thoughts(self, end: str) -> str:
        terminal = self._terminal(end)
        if terminal.startswith("<["):
            return f"thoughts: /(.|\\n)*/ {terminal}"
        return f"thoughts[lazy]: /(.|\\n)*{json.dumps(end)[1:-1].replace('/', chr(92) + '/')}/"

    def _matcher(self, kind: str, lark: str) -> Any:
        try:
            import llguidance
        except ImportError:
            raise ValueError(f"{kind}: {ABSENT}") from None
        ours = self._ours = self._ours or self._own_tokenizer(kind)
        matcher = llguidance.LLMatcher(ours, llguidance.LLMatcher.grammar_from_lark(lark), log_level=0)
        if matcher.is_error():
            raise ValueError(f"{kind}: cannot be served: {first_line(matcher.get_error())}")
        return matcher

    def _own_tokenizer(self, kind: str) -> Any:
        from llguidance.hf import from_tokenizer

        try:
            return from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._ends)
        except Exception as error:  # noqa: BLE001 - Rust's errors have no class of their own
            raise ValueError(f"{kind}: not with this model's tokenizer: {first_line(str(error))}") from None


def grammar_text(kind: str, grammar: Any) -> str:
    """Any kind as a Lark grammar whose first rule is `start`. Raises ValueError that names the input."""
    if kind == "json_schema":
        return f"start: {json_rule(grammar)}"
    if kind == "regex":
        return f"start: /{escaped(grammar)}/"
    if "start:" not in grammar:
        raise ValueError("grammar: must be a Lark grammar with a rule `start`")
    return str(grammar)


def json_rule(schema: Any) -> str:
    """The part of a rule that a JSON Schema is."""
    if isinstance(schema, dict):
        schema = close_objects(schema)
        own = schema.get("x-guidance")
        schema = {**schema, "x-guidance": {**JSON_OPTIONS, **own} if isinstance(own, dict) else JSON_OPTIONS}
    return "%json " + json.dumps(schema)


def arguments_schema(function: dict[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments: an object in any case."""
    parameters = function.get("parameters") or {}
    return {"type": "object", **parameters} if isinstance(parameters, dict) else {"type": "object"}


def escaped(regex: str) -> str:
    """A regular expression between two slashes."""
    text, is_escaped = "", False
    for character in regex:
        text += "\\/" if character == "/" and not is_escaped else character
        is_escaped = character == "\\" and not is_escaped
    return text.replace("\n", "\\n")


SOURCE = re.compile(r" \d+ \| ")  # behind the message, the grammar with line numbers
PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")


def first_line(text: str) -> str:
    """What an error says in one line, without the place in a grammar that the caller did not write."""
    message = SOURCE.split(" ".join(text.split()))[0]
    return PLACE.sub("", message)[:300] or "no reason was given"
