"""A conversation as every edge hands it to a model: messages and settings by our names. Knows no wire
format."""

from collections.abc import Mapping
from typing import Any

from app.api.model_calls.calls import Call
from app.api.model_calls.failures import refused

# What our inputs are called where requests name them differently.
FIELDS = {"max_new_tokens": "max_tokens", "json_schema": "response_format", "echo": "prompt"}


def fit_settings(
    call: Call, settings: Mapping[str, Any], fields: Mapping[str, str] = FIELDS
) -> dict[str, Any]:
    """The settings, if the model has them all; an answer longer than it can give is bounded. `fields`: what
    the request calls them. Raises InvalidRequest naming the field."""
    inputs, kept = call.inputs(), dict(settings)
    for name in kept:
        if name not in inputs:
            raise refused(fields.get(name, name), f"{call.version.model} does not take it")
    if "max_new_tokens" in kept:
        kept["max_new_tokens"] = min(
            kept["max_new_tokens"], inputs["max_new_tokens"].get("maximum", kept["max_new_tokens"])
        )
    return kept


def chat_input(call: Call, conversation: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The model's input for one answer, its thoughts and tool calls apart where it can tell them. Choices of
    one call share the very `conversation` (of `conversation_input`), so that it is stored once."""
    parsed = {"parse_response": True} if "parse_response" in call.inputs() else {}
    return {**conversation, **parsed, **settings}
