"""Models as tools of their own: those that MCP_MODELS names, as far as the caller may run them."""

import re
from collections.abc import Sequence
from typing import Any

from anyio.to_thread import run_sync
from mcp import types

from app.api.mcp.prediction_runs import output_text, run_prediction
from app.api.mcp.tool_calls import ToolCall, error_result, text_result
from app.domain.errors import NotFound
from app.domain.predictions import Status
from app.services.catalogue.catalogue import ListedModel

LONGEST_NAME = 64  # of a tool, in the strictest of the assistants


def name_tools(models: Sequence[str]) -> dict[str, str]:
    """The tools' names with their models: `ada/chat` is `ada_chat`; a second of a name gets a number."""
    named: dict[str, str] = {}
    for model in models:
        plain = re.sub(r"[^a-zA-Z0-9_-]", "_", model)[:LONGEST_NAME]
        name, number = plain, 2
        while name in named:
            name, number = f"{plain[: LONGEST_NAME - 4]}_{number}", number + 1
        named[name] = model
    return named


async def list_tools(call: ToolCall, named: dict[str, str]) -> list[types.Tool]:
    """A tool for each model that the caller may see and that has a version."""
    return await run_sync(_list_tools, call, named)


def _list_tools(call: ToolCall, named: dict[str, str]) -> list[types.Tool]:
    tools = []
    for name, model in named.items():
        try:
            listed = call.services.catalogue.get(call.caller, *model.split("/"))
        except NotFound:
            continue
        if listed.latest:
            tools.append(_as_tool(name, listed))
    return tools


def _as_tool(name: str, listed: ListedModel) -> types.Tool:
    assert listed.latest
    kind = listed.latest.task or listed.latest.runtime
    description = (listed.model.description or "").strip()
    return types.Tool(
        name=name,
        title=listed.model.full_name,
        description=f"Runs the model {listed.model.full_name} ({kind})."
        + (f" {description}" if description else ""),
        input_schema={"type": "object", **listed.latest.input_schema},
        output_schema={"type": "object", "properties": {"output": {}}, "required": ["output"]},
    )


async def run_tool(call: ToolCall, model: str, values: dict[str, Any]) -> types.CallToolResult:
    """The output, as text and as it is. Raises LovageError."""
    version = await call.services.model_names.runnable(call.caller, model)
    prediction = await run_prediction(call, version, values)
    if prediction["status"] != Status.SUCCEEDED:
        return error_result(prediction["error"] or f"The prediction was {prediction['status']}.")
    return text_result(output_text(version, prediction["output"]), {"output": prediction["output"]})
