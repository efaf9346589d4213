"""What a tool is, and a call of one. Knows no transport."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from pydantic import BaseModel
from starlette.requests import Request

from app.api.deps import Services, base_url, services_of
from app.services.people.access import Principal


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call by a known caller. `key` is this very request's own: what it makes can be found by it."""

    request: Request
    context: ServerRequestContext[Any, Any]
    services: Services
    caller: Principal
    key: str | None = None

    @property
    def base(self) -> str:
        return base_url(self.request)

    @property
    def wants_progress(self) -> bool:
        meta = self.context.meta or {}
        return meta.get("progress_token") is not None or meta.get("progressToken") is not None

    async def report(self, progress: float, total: float | None, message: str) -> None:
        """Tells the client, if it wants to know."""
        await self.context.session.report_progress(progress, total, message)


def open_call(context: ServerRequestContext[Any, Any], key: str | None = None) -> ToolCall:
    """The call that a handler has been given; its caller has been let in by the route."""
    request: Request = context.request  # type: ignore[assignment]
    return ToolCall(request, context, services_of(request), request.scope["caller"], key)


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """A tool that is always there. What `takes` describes is checked before `run` gets it."""

    name: str
    title: str
    description: str
    takes: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[ToolCall, Any], Awaitable[BaseModel]]
    only_reads: bool = True

    def as_tool(self) -> types.Tool:
        """As clients see it."""
        return types.Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.takes.model_json_schema(),
            output_schema=self.answers.model_json_schema(),
            annotations=types.ToolAnnotations(title=self.title, read_only_hint=self.only_reads),
        )


def text_result(text: str, structured: dict[str, Any] | None = None) -> types.CallToolResult:
    """An answer."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=structured
    )


def error_result(sentence: str) -> types.CallToolResult:
    """A call that failed, in a sentence that a model can act on."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=sentence)], is_error=True)
