"""The Model Context Protocol, with the SDK's own client, in its current revision and the one before."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
from api_hand_worker import HandWorker
from api_people import Person, Server, bearer
from waiting import eventually
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.cli.top import features_line

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import ProtectedResourceMetadata
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult

CURRENT, BEFORE = "auto", "legacy"
REVISIONS = pytest.mark.parametrize("mode", [CURRENT, BEFORE])
BUILT_IN = {
    "list_inference_backends",
    "get_backend_status",
    "select_backend_for_inference",
    "route_inference_request",
    "get_supported_tasks",
}


@pytest.fixture(scope="session")
def mcp_server(start_server: Callable[..., Server]) -> Server:
    return start_server(mcp_models="ada/talker0,ada/nothing", cors_origins="https://tools.example")


def use(server: Server, person: Person, mode: str, work: Callable[[Client], Any]) -> Any:
    """What `work` answers, with a connected client of this person's."""

    async def connect() -> Any:
        http = httpx2.AsyncClient(headers=bearer(person.key), timeout=30, trust_env=False)
        async with (
            http,
            Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return asyncio.run(connect())


def call(server: Server, person: Person, tool: str, **values: Any) -> CallToolResult:
    return use(server, person, CURRENT, lambda client: client.call_tool(tool, values))


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content)


@REVISIONS
def test_all_tools_are_listed_and_answer(
    mcp_server: Server, ada: Person, talker: Callable[..., str], worker: HandWorker, mode: str
) -> None:
    name = talker()

    async def work(client: Client) -> dict[str, Any]:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == BUILT_IN | {"ada_talker0"}
        assert "prompt" in tools["ada_talker0"].input_schema["properties"]
        run = {"model": name, "input": {"prompt": "hi"}}
        results = {
            "list": await client.call_tool("list_inference_backends", {}),
            "status": await client.call_tool("get_backend_status", {"name": "cpu"}),
            "select": await client.call_tool("select_backend_for_inference", {"task": "talker"}),
            "tasks": await client.call_tool("get_supported_tasks", {}),
            "run": await client.call_tool("route_inference_request", run),
            "model": await client.call_tool("ada_talker0", {"prompt": "yo"}),
        }
        assert not [key for key, result in results.items() if result.is_error], results
        return {key: result.structured_content for key, result in results.items()} | {
            "text": text_of(results["model"])
        }

    answers = use(mcp_server, ada, mode, work)
    assert [each["name"] for each in answers["list"]["backends"]] == ["cpu"]
    assert answers["status"]["state"] == "healthy"
    assert answers["select"]["model"] == name
    assert answers["select"]["backend"] in ("cpu", "cpu@testhost", "any")
    assert answers["tasks"] == {"tasks": [{"task": "talker", "models": [name]}]}
    assert answers["run"]["status"] == "succeeded"
    assert answers["run"]["output"] == ["hi", "hi"]
    assert answers["run"]["source"] == "mcp"
    assert (answers["model"], answers["text"]) == ({"output": ["yo", "yo"]}, "yoyo")


@REVISIONS
def test_output_is_reported_while_it_comes(
    mcp_server: Server, ada: Person, talker: Callable[..., str], worker: HandWorker, mode: str
) -> None:
    name, seen = talker(chunks=3, seconds=0.3), list[tuple[float, str]]()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message or ""))

    values = {"model": name, "input": {"prompt": "bit"}}
    result = use(
        mcp_server,
        ada,
        mode,
        lambda client: client.call_tool("route_inference_request", values, progress_callback=on_progress),
    )
    assert not result.is_error
    assert seen[0] == (0, "starting")
    assert "".join(message for _, message in seen[1:]) == "bitbitbit"
    assert [number for number, _ in seen] == sorted({number for number, _ in seen})


@REVISIONS
def test_a_canceled_call_cancels_its_prediction(
    mcp_server: Server, ada: Person, talker: Callable[..., str], mode: str
) -> None:
    """There is no worker, so it waits until then."""
    name = talker()

    async def work(client: Client) -> None:
        begun = asyncio.Event()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        values = {"model": name, "input": {"prompt": "long"}}
        running = asyncio.create_task(
            client.call_tool("route_inference_request", values, progress_callback=on_progress)
        )
        async with asyncio.timeout(10):
            await begun.wait()
            running.cancel()
            await asyncio.wait({running})
            while await asyncio.to_thread(newest_status) != "canceled":  # the client is still connected
                await asyncio.sleep(0.05)

    def newest_status() -> str:
        return str(ada.http.get("/v1/predictions").json()["results"][0]["status"])

    use(mcp_server, ada, mode, work)


def test_what_a_model_or_a_caller_does_wrong_is_said_to_the_model(
    mcp_server: Server, ada: Person, talker: Callable[..., str], worker: HandWorker
) -> None:
    name = talker()
    run = "route_inference_request"
    for tool, values, words in (
        (run, {"model": "ada/absent", "input": {}}, "could not be found"),
        (run, {"model": name, "input": {"max_new_tokens": 99}}, "max_new_tokens"),
        (run, {"model": name, "input": {"prompt": "x", "fail": True}}, "asked to fail"),
        (run, {"model": name}, "input"),
        (run, {"model": name, "input": {}, "colour": "red"}, "colour"),
        ("get_backend_status", {"name": "absent"}, "could not be found"),
        ("select_backend_for_inference", {}, "model"),
        ("select_backend_for_inference", {"model": name, "strategy": "guess"}, "strategy"),
        ("ada_talker0", {"prompt": "x", "fail": True}, "asked to fail"),
    ):
        result = call(mcp_server, ada, tool, **values)
        if "fail" in str(values) and tool == run:
            assert result.structured_content is not None
            assert result.structured_content["status"] == "failed"
        else:
            assert result.is_error, (tool, values)
        assert words in text_of(result), (tool, values, text_of(result))

    async def call_absent(client: Client) -> None:
        with pytest.raises(MCPError, match="There is no tool"):
            await client.call_tool("absent", {})

    use(mcp_server, ada, CURRENT, call_absent)


def test_registered_backends_are_shown_to_administrators(
    mcp_server: Server, ada: Person, admin: Person
) -> None:
    body = {"name": "gpu", "kind": "openai", "url": "http://127.0.0.1:9"}
    assert admin.http.post("/v1/backends", json=body).status_code == 201
    assert "gpu" in text_of(call(mcp_server, admin, "list_inference_backends"))
    assert not call(mcp_server, admin, "get_backend_status", name="gpu").is_error
    result = call(mcp_server, ada, "list_inference_backends")
    assert result.structured_content == {"backends": [], "only_devices": True}
    assert call(mcp_server, ada, "get_backend_status", name="gpu").is_error


def test_without_a_key_it_is_said_where_to_learn_of_one(
    mcp_server: Server, ada: Person, make_person: Callable[..., Person]
) -> None:
    http = httpx.Client(base_url=mcp_server.url)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    refused = http.post("/mcp", json=ping, headers=accept)
    assert refused.status_code == 401
    where = refused.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
    metadata = ProtectedResourceMetadata.model_validate(http.get(where).json())
    assert str(metadata.resource) == f"{mcp_server.url}/mcp"
    issuer = http.get("/.well-known/oauth-authorization-server").json()
    assert issuer["token_endpoint"] == f"{mcp_server.url}/v1/auth/token"
    no_scope = make_person(scopes=("models",), server=mcp_server)
    for headers, status in (
        ({**accept, **bearer(no_scope.key)}, 403),
        ({**accept, **bearer(ada.key), "Origin": "https://evil.example"}, 403),
        ({**accept, **bearer(ada.key), "Origin": "https://tools.example"}, 200),
        ({**accept, **bearer(ada.key), "Origin": mcp_server.url}, 200),
    ):
        assert http.post("/mcp", json=ping, headers=headers).status_code == status, headers
    assert http.get("/mcp", headers={**accept, **bearer(ada.key)}).status_code == 405


@pytest.mark.parametrize("body", [b"{", b"[" * 200, b'{"a": "\\u0000"}', json.dumps([]).encode()])
def test_what_is_no_message_is_refused_in_the_protocols_words(
    mcp_server: Server, ada: Person, body: bytes
) -> None:
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    answer = httpx.post(f"{mcp_server.url}/mcp", content=body, headers=headers | bearer(ada.key))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] < -32000


def test_what_is_switched_off_is_not_there(
    start_server: Callable[..., Server], api: Server, ada: Person
) -> None:
    names = ("mcp", "openai", "web", "websocket", "backends", "p2p")
    server = start_server(**{f"enable_{name}": False for name in names})
    here, there = (httpx.Client(base_url=each.url, headers=bearer(ada.key)) for each in (api, server))
    for method, path in (
        ("POST", "/mcp"),
        ("GET", "/.well-known/oauth-protected-resource"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/images/edits"),
        ("POST", "/v1/audio/speech"),
        ("GET", "/assets/app.js"),
        ("GET", "/v1/backends"),
        ("GET", "/v1/peers"),
    ):
        assert here.request(method, path).status_code not in (404, 405), path
        assert there.request(method, path).status_code in (404, 405), path
    with pytest.raises(InvalidStatus), connect(f"{server.url.replace('http', 'ws')}/ws/me"):
        pass
    assert here.get("/status").json()["features"] == dict.fromkeys(names, True)
    assert there.get("/status").json()["features"] == dict.fromkeys(names, False)
    assert features_line({"mcp": True, "web": False}) == "on: mcp; off: web"


def test_a_call_is_bounded_as_any_creation(
    start_server: Callable[..., Server], ada: Person, talker: Callable[..., str], worker: HandWorker
) -> None:
    server, name = start_server(rate_limit_creates="2/minute"), talker()
    for number in range(3):
        result = call(server, ada, "route_inference_request", model=name, input={"prompt": "x"})
        assert result.is_error == (number == 2)
    eventually(lambda: len(ada.http.get("/v1/predictions").json()["results"]) == 2, 5)
