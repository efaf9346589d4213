"""The protocol's server over the tools: what clients list and call. Which protocol revision a client speaks,
and how messages travel, is the SDK's."""

from typing import Any

import structlog
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS
from pydantic import ValidationError

from app import __version__
from app.api.mcp import built_in_tools, model_tools
from app.api.mcp.call_keys import SESSION, call_key
from app.api.mcp.tool_calls import BuiltInTool, ToolCall, error_result, open_call, text_result
from app.api.problems import SERVER_FAULT, invalid_request, status_of
from app.domain.errors import InvalidRequest, LovageError

log = structlog.get_logger(__name__)

Context = ServerRequestContext[Any, Any]
INSTRUCTIONS = (
    "Lovage runs machine-learning models. Find models with get_supported_tasks, run one with"
    " route_inference_request; a call answers when the prediction has ended."
)


class ToolServer:
    """The tools, as the SDK's server calls them."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self._built_in = {tool.name: tool for tool in built_in_tools.TOOLS}
        self._models = model_tools.name_tools(models)
        self.server: Server[Any] = Server(
            "lovage",
            version=__version__,
            title="Lovage",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda name: None,  # no argument of ours travels in a header
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        self.server.middleware.clear()  # its traces: the API makes its own

    async def _list_tools(self, context: Context, _: Any) -> types.ListToolsResult:
        tools = [tool.as_tool() for tool in self._built_in.values()]
        if self._models:
            tools += await model_tools.list_tools(open_call(context), self._models)
        return types.ListToolsResult(tools=tools)

    async def _call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        call, values = open_call(context, _key_of(context)), params.arguments or {}
        try:
            if tool := self._built_in.get(params.name):
                return await _run_built_in(call, tool, values)
            if model := self._models.get(params.name):
                return await model_tools.run_tool(call, model, values)
        except LovageError as error:
            return error_result(_sentence(error))
        except Exception as error:  # nothing of it is for clients
            log.exception("mcp_tool_broken", tool=params.name)
            raise MCPError(types.INTERNAL_ERROR, SERVER_FAULT) from error
        raise MCPError(
            INVALID_PARAMS, f"There is no tool {params.name[:100]!r}; tools/list says what there is."
        )


async def _run_built_in(call: ToolCall, tool: BuiltInTool, values: dict[str, Any]) -> types.CallToolResult:
    try:
        arguments = tool.takes.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None
    answer = await tool.run(call, arguments)
    return text_result(answer.model_dump_json(), answer.model_dump(mode="json"))


def _sentence(error: LovageError) -> str:
    if status_of(error) == 500:
        return SERVER_FAULT
    if isinstance(error, InvalidRequest) and error.fields:
        return "; ".join(f"{each.field}: {each.description}" for each in error.fields) + "."
    return error.detail.strip()


def _key_of(context: Context) -> str | None:
    """Of a call in a session: clients of the older revisions cancel by the request's number, in a request of
    its own, which may reach another process than the call."""
    request = context.request
    session = request.headers.get(SESSION) if request is not None else None
    caller = request.scope["caller"] if request is not None else None
    if not session or caller is None or caller.user_id is None or context.request_id is None:
        return None
    return call_key(session, context.request_id)
