"""From a conversation to the text that a model continues: the tokenizer's chat template, with tools,
variables and begun answers. Knows no batch and no request."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = dict[str, Any]
SAMPLE = "whale"
# Variables that transformers itself hands to every template; a caller sets none of them.
OWN_VARIABLES = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}
)


class ChatTemplate:
    """A tokenizer's template. `defaults`: variables that the version's configuration sets."""

    def __init__(self, tokenizer: Any, defaults: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._defaults = dict(defaults)
        template = tokenizer.chat_template or ""
        self.source = "\n".join(template.values()) if isinstance(template, dict) else str(template)
        self._variables = variables_of(self.source)
        self._reads_texts = not self.source or self._shows_text()

    def _shows_text(self) -> bool:
        """Whether a content that is a text arrives in the prompt; templates of models that see may read
        lists of parts only."""
        try:
            prompt = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": SAMPLE}], tokenize=False
            )
        except Exception:  # noqa: BLE001 - a template refuses by errors of jinja's own; its use will say so
            return True
        return SAMPLE in str(prompt)

    @property
    def has_tools(self) -> bool:
        return "tools" in self._variables

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
        continue_final: bool | None = None,
    ) -> str:
        """The prompt. `continue_final` None: a last message of the assistant is continued, any other
        answered. Raises ValueError with a sentence that names the input."""
        if not self.source:
            raise ValueError("this model has no chat template: give `prompt` instead of `messages`")
        if tools and not self.has_tools:
            raise ValueError("tools: the model's chat template has none")
        self._check_variables(variables or {})
        turns = [self._readable(with_parsed_arguments(message)) for message in messages]
        continues = self._continues(turns, continue_final)
        try:
            text = self._tokenizer.apply_chat_template(
                turns,
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=not continues,
                continue_final_message=continues,
                **{**self._defaults, **(variables or {})},
            )
        except Exception as error:  # noqa: BLE001 - a template refuses by errors of jinja's own
            raise ValueError(f"the model's chat template refuses these messages: {error}") from None
        return str(text)

    def _readable(self, message: Message) -> Message:
        if self._reads_texts or not isinstance(message["content"], str):
            return message
        return {**message, "content": [{"type": "text", "text": message["content"]}]}

    def _check_variables(self, variables: Mapping[str, Any]) -> None:
        for name, value in variables.items():
            is_switch_off = value is False or value is None  # to a template without it that changes nothing
            if name in OWN_VARIABLES or (name not in self._variables and not is_switch_off):
                known = ", ".join(sorted(self._variables - OWN_VARIABLES)) or "none"
                raise ValueError(
                    f"chat_template_kwargs: {name[:100]!r} is no variable of the model's chat template; it"
                    f" has: {known}"
                )

    @staticmethod
    def _continues(turns: Sequence[Message], continue_final: bool | None) -> bool:
        last = turns[-1]
        can = last["role"] == "assistant" and bool(last.get("content")) and not last.get("tool_calls")
        if continue_final and not can:
            raise ValueError("continue_final_message: the last message must be the assistant's, with a text")
        return can and continue_final is not False


def variables_of(source: str) -> frozenset[str]:
    """What a template reads that it does not set itself; nothing when it is no template."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import _get_template_variables

    try:
        return frozenset(_get_template_variables(source))
    except TemplateError:
        return frozenset()


def with_parsed_arguments(message: Message) -> Message:
    """The message with its calls' arguments as objects, which templates write as JSON themselves."""
    calls = [
        {**call, "function": {**function, "arguments": parsed(function.get("arguments"))}}
        for call in message.get("tool_calls") or ()
        if isinstance(function := call.get("function"), dict)
    ]
    return {**message, "content": message.get("content") or ""} | ({"tool_calls": calls} if calls else {})


def parsed(arguments: Any) -> Any:
    """An object where the text is one."""
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments
