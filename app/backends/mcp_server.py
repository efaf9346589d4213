"""The tools of an MCP server as models, over streamable HTTP. Each call is a session of its own, in the
newest revision that begins with a handshake; servers of later ones speak it, too."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, ClassVar

import structlog

from app.backends.base import BackendCall, JsonObject
from app.backends.http_kind import CHECK_SECONDS, LONGEST_ANSWER, HttpKind, parse_json, read_events
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Event, Finished, Log, Progress

log = structlog.get_logger(__name__)

TOOL = "tool"
REVISION = "2025-11-25"
SESSION = "Mcp-Session-Id"
MOST_PAGES, MOST_TOOLS = 10, 500
END_SECONDS = 5.0
DEEPEST = 6  # references in references of a tool's schema; below that anything is taken
# Of a tool's schema with what it refers to in its places: a few that refer to each other make millions.
MOST_VALUES, MOST_LEVELS = 20_000, 100
WRONG_INPUT = -32602  # JSON-RPC's invalid params


class McpServer(HttpKind):
    """Its address is the server's MCP endpoint; the credential goes as a bearer token. An output is what the
    tool says as structured content, else its text."""

    tasks: ClassVar[tuple[str, ...]] = (TOOL,)

    async def check(self) -> None:
        async with self._session(CHECK_SECONDS):
            return

    async def list_models(self) -> Sequence[ServedModel]:
        tools, cursor = list[JsonObject](), None
        async with self._session(CHECK_SECONDS) as session:
            for _ in range(MOST_PAGES):
                page = await session.ask("tools/list", {"cursor": cursor} if cursor else {})
                tools += [each for each in page.get("tools") or () if isinstance(each, dict)]
                if not (cursor := page.get("nextCursor")):
                    break
        named = [tool for tool in tools[:MOST_TOOLS] if tool.get("name")]
        return [served for tool in named if (served := served_tool(tool))]

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """What the server reports of its progress on the way are steps, or lines of the log."""
        arguments = {name: value for name, value in call.input.items() if value is not None}
        params = {"name": call.model, "arguments": arguments, "_meta": {"progressToken": 1}}
        async with self._session(self.address.silence_seconds) as session:
            try:
                async with aclosing(session.messages("tools/call", params)) as messages:
                    async for message in messages:
                        if "result" in message:
                            yield Finished(output_of(message["result"]))
                            return
                        if event := progress_of(message):
                            yield event
            except (asyncio.CancelledError, GeneratorExit):
                await asyncio.shield(session.cancel())
                raise

    @asynccontextmanager
    async def _session(self, silence: float) -> AsyncIterator["Session"]:
        session = Session(self, silence)
        await session.begin()
        try:
            yield session
        finally:
            await asyncio.shield(session.end())


class Session:
    """From its handshake to its end. Every method raises UpstreamFailed."""

    def __init__(self, server: McpServer, silence: float) -> None:
        self._server, self._silence = server, silence
        self._headers = {"Accept": "application/json, text/event-stream"}
        self._last = 0

    async def begin(self) -> None:
        own = {"name": "lovage", "version": "1"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": own}
        answer = await self.ask("initialize", params)
        self._headers["MCP-Protocol-Version"] = str(answer.get("protocolVersion") or REVISION)
        await self._notify("notifications/initialized")

    async def ask(self, method: str, params: JsonObject) -> JsonObject:
        """The result."""
        async with aclosing(self.messages(method, params)) as messages:
            async for message in messages:
                if isinstance(result := message.get("result"), dict):
                    return result
        raise UpstreamFailed(f"answered {method} without a result")

    async def messages(self, method: str, params: JsonObject) -> AsyncGenerator[JsonObject]:
        """All that comes for a request; its result is the last."""
        self._last += 1
        body = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        async with self._server.open(
            "POST", self._server.address.url, body, self._silence, self._headers
        ) as answer:
            if session := answer.headers.get(SESSION):
                self._headers[SESSION] = session
            if "event-stream" not in answer.headers.get("content-type", ""):
                yield self._checked(parse_json(await answer.read(LONGEST_ANSWER)))
                return
            async for data in read_events(answer):
                if data:
                    message = self._checked(parse_json(data))
                    yield message
                    if "result" in message:
                        return
        raise UpstreamFailed(f"broke off its answer to {method}")

    def _checked(self, message: Any) -> JsonObject:
        if not isinstance(message, dict):
            raise UpstreamFailed("sent a message that is no object")
        if isinstance(error := message.get("error"), dict):
            fault = Fault.INPUT if error.get("code") == WRONG_INPUT else Fault.MODEL
            raise UpstreamFailed(f"answered an error: {str(error.get('message'))[:300]}", fault)
        return message

    async def _notify(self, method: str, params: JsonObject | None = None, silence: float = 0.0) -> None:
        body: JsonObject = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})
        async with self._server.open(
            "POST", self._server.address.url, body, silence or self._silence, self._headers
        ):
            return

    async def cancel(self) -> None:
        """The last request. Never raises."""
        with suppress(UpstreamFailed):
            await self._notify("notifications/cancelled", {"requestId": self._last}, END_SECONDS)

    async def end(self) -> None:
        """Never raises."""
        if SESSION in self._headers:
            with suppress(UpstreamFailed):
                url = self._server.address.url
                async with self._server.open("DELETE", url, None, END_SECONDS, self._headers):
                    return


def output_of(result: JsonObject) -> Any:
    """Of a tool that has run. Raises UpstreamFailed for one that says that it failed."""
    blocks = [each for each in result.get("content") or () if isinstance(each, dict)]
    texts = [str(each.get("text", "")) for each in blocks if each.get("type") == "text"]
    if result.get("isError"):
        raise UpstreamFailed(f"says that the tool failed: {' '.join(texts)[:300]}", Fault.MODEL)
    if (structured := result.get("structuredContent")) is not None:
        return structured
    return "".join(texts) if len(texts) == len(blocks) else blocks


def progress_of(message: JsonObject) -> Event | None:
    """A notification as an event; None for what says nothing of progress."""
    params = message.get("params")
    if message.get("method") != "notifications/progress" or not isinstance(params, dict):
        return None
    if text := params.get("message"):
        return Log(f"{str(text)[:1_000]}\n")
    done, total = params.get("progress"), params.get("total")
    is_counted = all(isinstance(each, int | float) for each in (done, total))
    return Progress(int(done), int(total)) if is_counted and total else None  # type: ignore[arg-type]


def served_tool(tool: JsonObject) -> ServedModel | None:
    """A tool of a server's list as a model; None where its schemas are too large."""
    inputs, outputs = tool.get("inputSchema"), tool.get("outputSchema")
    try:
        taken = inlined(inputs) if isinstance(inputs, dict) else {}
        answered = inlined(outputs) if isinstance(outputs, dict) else {}
    except TooLargeError as error:
        log.warning("tool_left_out", tool=str(tool["name"])[:100], reason=str(error))
        return None
    own: JsonObject = {"type": "object", "title": "Input", "properties": taken.get("properties") or {}}
    if taken.get("required"):
        own["required"] = taken["required"]
    return ServedModel(str(tool["name"]), TOOL, inputs=own, outputs={**answered, "title": "Output"})


class TooLargeError(ValueError):
    """A schema of more than MOST_VALUES, or nested deeper than MOST_LEVELS."""


def inlined(schema: Mapping[str, Any]) -> JsonObject:
    """A schema with what it refers to in its places: versions here have no definitions. Raises
    TooLargeError."""
    definitions = {
        f"#/{member}/{name}": value
        for member in ("$defs", "definitions")
        if isinstance(schema.get(member), dict)
        for name, value in schema[member].items()
    }
    own = {name: value for name, value in schema.items() if name not in ("$defs", "definitions")}
    whole: JsonObject = _Inliner(definitions).value_of(own, 0, 0)
    return whole


class _Inliner:
    """Of one schema."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions, self._left = definitions, MOST_VALUES

    def value_of(self, value: Any, level: int, references: int) -> Any:
        self._left -= 1
        if self._left < 0 or level > MOST_LEVELS:
            raise TooLargeError("its schema is too large")
        if isinstance(value, list):
            return [self.value_of(each, level + 1, references) for each in value]
        if not isinstance(value, Mapping):
            return value
        reference = value.get("$ref")
        if isinstance(reference, str):
            target = self._definitions.get(reference, {}) if references < DEEPEST else {}
            own = {name: each for name, each in value.items() if name != "$ref"}
            beside = target if isinstance(target, Mapping) else {}
            return self.value_of({**beside, **own}, level + 1, references + 1)
        return {name: self.value_of(each, level + 1, references) for name, each in value.items()}
