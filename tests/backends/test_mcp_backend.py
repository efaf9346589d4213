"""An MCP server's tools as models: a real server, of the official SDK."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from fake_upstream import FakeUpstream
from gateway_support import LOOPBACK, open_backend, registered
from waiting import eventually

from app.backends.base import BackendAddress, BackendCall, BackendKind
from app.backends.mcp_server import DEEPEST, TooLargeError, inlined, output_of, served_tool
from app.backends.registry import find
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.work import Event, Finished, Log, Progress
from app.outbound.async_client import AsyncGuardedClient

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel


class Point(BaseModel):
    x: int
    y: int


class Tools:
    """`canceled` counts calls of `wait` that were canceled."""

    def __init__(self) -> None:
        self.running = self.canceled = 0
        self.server = MCPServer("tools")
        for tool in (self.add, self.length, self.fail, self.steps, self.wait):
            self.server.tool()(tool)

    def add(self, a: int, b: int = 1) -> int:
        """Adds two numbers."""
        return a + b

    def length(self, points: list[Point]) -> str:
        """Of a way, as a sentence."""
        return f"{len(points)} points"

    def fail(self) -> str:
        """Always."""
        raise ToolError("the disk is full")

    async def steps(self, context: Context) -> str:
        """In three."""
        for step in range(3):
            await context.report_progress(step + 1, 3)
        await context.report_progress(3, 3, "nearly there")
        return "done"

    async def wait(self) -> str:
        """Until it is canceled."""
        self.running += 1
        try:
            await asyncio.sleep(60)
        except BaseException:
            self.canceled += 1
            raise
        return "never"


@pytest.fixture(scope="module")
def tools() -> Iterator[tuple[Tools, str]]:
    """A running server, and its address."""
    own = Tools()
    config = uvicorn.Config(own.server.streamable_http_app(), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield own, f"http://127.0.0.1:{port}/mcp"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
async def backend(tools: tuple[Tools, str]) -> AsyncIterator[BackendKind]:
    opened = find("mcp")(BackendAddress(tools[1], "", 20.0, {}), AsyncGuardedClient(LOOPBACK, 8))
    yield opened
    await opened.close()


async def run(backend: BackendKind, tool: str, **values: Any) -> list[Event]:
    return [event async for event in backend.run(BackendCall(tool, "tool", values))]


async def test_each_tool_is_a_model_with_its_own_schemas(backend: BackendKind) -> None:
    await backend.check()
    served = {each.name: each for each in await backend.list_models()}
    assert set(served) == {"add", "length", "fail", "steps", "wait"}
    assert {each.task for each in served.values()} == {"tool"}
    inputs = served["add"].inputs
    assert inputs["required"] == ["a"]
    assert (inputs["properties"]["a"]["type"], inputs["properties"]["b"]["default"]) == ("integer", 1)
    point = served["length"].inputs["properties"]["points"]["items"]
    assert set(point["properties"]) == {"x", "y"}, "what it refers to stands in its place"


async def test_structured_content_or_else_the_text_is_the_output(backend: BackendKind) -> None:
    assert await run(backend, "add", a=2, b=3) == [Finished({"result": 5})]
    assert (await run(backend, "length", points=[{"x": 1, "y": 2}]))[-1] == Finished({"result": "1 points"})
    assert output_of({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}) == "ab"
    picture = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    assert output_of({"content": [picture]}) == [picture]


async def test_progress_is_passed_on(backend: BackendKind) -> None:
    *events, last = await run(backend, "steps")
    assert events == [Progress(1, 3), Progress(2, 3), Progress(3, 3), Log("nearly there\n")]
    assert last == Finished({"result": "done"})


@pytest.mark.parametrize(
    ("tool", "values", "words"),
    [("fail", {}, "the disk is full"), ("add", {"a": "two"}, "a"), ("none", {}, "none")],
)
async def test_what_a_tool_says_that_failed_is_the_models_failure(
    backend: BackendKind, tool: str, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(UpstreamFailed, match=words) as failure:
        await run(backend, tool, **values)
    assert failure.value.fault in (Fault.MODEL, Fault.INPUT)


async def test_a_cancel_here_is_one_there(backend: BackendKind, tools: tuple[Tools, str]) -> None:
    call = asyncio.create_task(run(backend, "wait"))
    while not tools[0].running:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    while not tools[0].canceled:
        await asyncio.sleep(0.01)


async def test_what_is_no_mcp_server_is_named() -> None:
    upstream = FakeUpstream().start()
    backend = open_backend(registered(upstream, "x", kind="mcp"))
    try:
        with pytest.raises(UpstreamFailed, match="404") as failure:
            await backend.check()
        assert failure.value.fault is Fault.SETUP
    finally:
        await backend.close()
        upstream.stop()


def test_references_stand_in_their_places_and_end() -> None:
    schema = {
        "properties": {"tree": {"$ref": "#/$defs/Tree", "title": "Own"}, "other": {"$ref": "#/$defs/Nobody"}},
        "$defs": {
            "Tree": {"type": "object", "title": "Tree", "properties": {"left": {"$ref": "#/$defs/Tree"}}}
        },
    }
    shown = inlined(schema)
    assert "$defs" not in shown
    assert shown["properties"]["other"] == {}
    tree = shown["properties"]["tree"]
    assert (tree["type"], tree["title"]) == ("object", "Own")
    for _ in range(5):
        tree = tree["properties"]["left"]
        assert tree["type"] == "object"
    assert tree["properties"]["left"] == {}


def test_a_schema_that_grows_without_end_is_refused_and_its_tool_left_out() -> None:
    both = {name: {"$ref": "#/$defs/Node"} for name in map(str, range(30))}
    schema = {"properties": {"tree": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": {"properties": both}}}
    assert 30**DEEPEST > 10**8, "or it would not be too much"
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"items": deep}
    for wrong in (schema, {"properties": {"list": deep}}):
        with pytest.raises(TooLargeError):
            inlined(wrong)
        assert served_tool({"name": "grow", "inputSchema": wrong}) is None
    assert served_tool({"name": "plain", "inputSchema": {"properties": {"x": {"type": "integer"}}}})
