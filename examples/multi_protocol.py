"""The same model over five protocols: `python multi_protocol.py demo/words "The whale"`.

Plain HTTP, a WebSocket, MCP, OpenAI's API, and through a backend: for want of another server, the platform
itself as a `lovage` backend of its own, which takes an administrator's key. Needs httpx, websockets, mcp and
openai. What fails is said in a sentence, and the other protocols go on; the exit code is 1 then.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import openai
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

URL = os.environ.get("LOVAGE_URL", "http://127.0.0.1:8000").rstrip("/")
TOKEN = os.environ.get("LOVAGE_TOKEN", "")
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
BACKEND = "multi-protocol-example"
SECONDS = 60.0


class Failure(Exception):
    """What went wrong, in a sentence."""


def over_http(model: str, prompt: str) -> str:
    """Creates a prediction and waits for its end."""
    with client() as http:
        body = {"version": model, "input": {"prompt": prompt}}
        made = answer(http.post("/v1/predictions", json=body, headers={"Prefer": "wait=30"}))
        return output_of(ended(http, made))


def over_websocket(model: str, prompt: str) -> str:
    """A text as inputs is the model's first text input; pieces come as they are made."""
    request = {"type": "inference", "model": model, "inputs": prompt, "stream": True}
    with connect(f"{URL.replace('http', 'ws', 1)}/ws/example", additional_headers=HEADERS) as socket:
        socket.send(json.dumps(request))
        while True:
            message = json.loads(socket.recv(timeout=SECONDS))
            if message["type"] == "ping":
                socket.send(json.dumps({"type": "pong"}))
            elif message["type"] == "error":
                raise Failure(message["detail"])
            elif message["type"] == "result":
                return output_of(message["prediction"])


def over_mcp(model: str, prompt: str) -> str:
    """As an assistant does: a tool runs the model, and reports its pieces as progress."""

    async def call() -> str:
        http = httpx2.AsyncClient(headers=HEADERS, timeout=SECONDS)
        transport = streamable_http_client(f"{URL}/mcp", http_client=http)
        async with http, Client(transport) as mcp:
            arguments = {"model": model, "input": {"prompt": prompt}}
            result = await mcp.call_tool("route_inference_request", arguments)
            if result.is_error or result.structured_content is None:
                raise Failure(getattr(result.content[0], "text", "the tool has failed"))
            return output_of(result.structured_content)

    return asyncio.run(call())


def over_openai(model: str, prompt: str) -> str:
    """OpenAI's own client with another base URL."""
    with openai.OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, timeout=SECONDS) as own:
        return own.completions.create(model=model, prompt=prompt, max_tokens=8).choices[0].text


def over_a_backend(model: str, prompt: str) -> str:
    """Registers a backend, and a model that runs there; removes both."""
    with client() as http, registered(http, model) as there:
        body = {"version": there, "input": {"prompt": prompt}}
        prediction = ended(http, answer(http.post("/v1/predictions", json=body)))
        return f"{output_of(prediction)} (from the backend {prediction['metrics']['backend']})"


@contextlib.contextmanager
def registered(http: httpx.Client, model: str) -> Iterator[str]:
    """The name of a model that this platform runs as its own backend."""
    backend = {"name": BACKEND, "kind": "lovage", "url": URL, "credential": TOKEN}
    answer(http.post("/v1/backends", json=backend))
    try:
        there = answer(http.post(f"/v1/backends/{BACKEND}/sync", json={"models": [model]}))["results"][0]
        if there["error"]:
            raise Failure(there["error"])
        try:
            yield there["model"]
        finally:
            http.delete(f"/v1/models/{there['model']}")
    finally:
        http.delete(f"/v1/backends/{BACKEND}")


def client() -> httpx.Client:
    """For calls of the platform's own API."""
    return httpx.Client(base_url=URL, headers=HEADERS, timeout=SECONDS)


def answer(response: httpx.Response) -> Any:
    """The JSON of a success."""
    if response.is_success:
        return response.json()
    is_problem = "json" in response.headers.get("content-type", "")
    raise Failure(f"{response.status_code}: {response.json()['detail'] if is_problem else response.text}")


def ended(http: httpx.Client, prediction: dict[str, Any]) -> dict[str, Any]:
    """The prediction when it has ended."""
    until = time.monotonic() + SECONDS
    while prediction["status"] not in ("succeeded", "failed", "canceled"):
        if time.monotonic() > until:
            raise Failure(f"{prediction['id']} has not ended within {SECONDS:g} s")
        time.sleep(0.2)
        prediction = answer(http.get(f"/v1/predictions/{prediction['id']}"))
    return prediction


def output_of(prediction: dict[str, Any]) -> str:
    """Pieces are one text."""
    if prediction["status"] != "succeeded":
        raise Failure(f"{prediction['status']}: {prediction['error']}")
    output = prediction["output"]
    return "".join(map(str, output)) if isinstance(output, list) else str(output)


PROTOCOLS = {
    "HTTP": over_http,
    "WebSocket": over_websocket,
    "MCP": over_mcp,
    "OpenAI": over_openai,
    "backend": over_a_backend,
}
GOES_WRONG = (
    Failure,
    httpx.HTTPError,
    httpx2.HTTPError,
    openai.OpenAIError,
    MCPError,
    WebSocketException,
    OSError,
    TimeoutError,
)


def sentences(error: BaseException) -> Iterator[str]:
    """Of each error that tasks have raised together, or of the one that it is."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from sentences(each)
    else:
        yield str(error) or type(error).__name__


def main(model: str, prompt: str) -> int:
    """A line for each protocol."""
    if not TOKEN:
        sys.exit("set LOVAGE_TOKEN to a key of the platform")
    failed = 0
    for name, run in PROTOCOLS.items():
        try:
            print(f"{name}: {run(model, prompt)!r}", flush=True)
        except* GOES_WRONG as errors:
            failed += 1
            print(f"{name} failed: {'; '.join(sentences(errors))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
