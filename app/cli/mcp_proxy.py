"""Passes tools' calls on, from standard input to a platform's `/mcp`: with their progress, and canceled there
when they are canceled here."""

from typing import Any

import httpx2
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from app import __version__

SILENCE_SECONDS = 60.0  # the platform says that it is there every 15 s
CONNECT_SECONDS = 5.0

Context = ServerRequestContext[Any, Any]


async def pass_on(url: str, headers: dict[str, str]) -> None:
    """Until standard input ends."""
    credential = {name: value for name, value in headers.items() if name.lower() == "authorization"}
    timeout = httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    http = httpx2.AsyncClient(headers=credential, timeout=timeout, trust_env=False)
    async with http, Client(streamable_http_client(url, http_client=http)) as remote:
        server = open_server(remote)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


def open_server(remote: Client) -> Server[Any]:
    """A server whose tools are the remote one's."""

    async def list_tools(context: Context, _: Any) -> types.ListToolsResult:
        return await remote.list_tools()

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        return await remote.call_tool(
            params.name, params.arguments or {}, progress_callback=context.session.report_progress
        )

    return Server(
        "lovage",
        version=__version__,
        title="Lovage",
        instructions=remote.instructions,
        get_tool_input_schema=lambda name: None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
