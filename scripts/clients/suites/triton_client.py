"""Triton's own client over HTTP and by gRPC, blocking and asynchronous: every demo model and an ONNX graph,
with the results of the native API."""

import asyncio
import json
import os
import threading
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import tritonclient.grpc as by_grpc
import tritonclient.grpc.aio as by_grpc_aio
import tritonclient.http as by_http
import tritonclient.http.aio as by_http_aio
from tritonclient.utils import InferenceServerException

REQUIRES = ("tritonclient[grpc]==2.73.0", "tritonclient[http]==2.73.0")
CALLS = (
    "oip.live",
    "oip.ready",
    "oip.metadata",
    "oip.model.ready",
    "oip.version.ready",
    "oip.model.metadata",
    "oip.version.metadata",
    "oip.infer",
    "oip.version.infer",
    "oip.generate",
    "oip.generate.stream",
    "oip.version.generate",
    "oip.version.generate.stream",
    "oip.repository.index",
    "oip.repository.load",
    "oip.repository.unload",
    "sessions.create",
)
URL, KEY = os.environ["LOVAGE_URL"], os.environ["LOVAGE_KEY"]
TEXT, EMBED, DRAW, ECHO, GRAPH = (os.environ[name] for name in ("TEXT", "EMBED", "DRAW", "ECHO", "GRAPH"))
WORDS = {"max_new_tokens": 8, "temperature": 0}
TRIPLES = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
PATIENCE = {"network_timeout": 120, "connection_timeout": 120}
Cases = dict[str, tuple[dict[str, Any], dict[str, Any]]]
# By model: its tensors, and its other inputs.
CASES: Cases = {
    ECHO: ({"text": "hello"}, {}),
    EMBED: ({"text": "The quick brown fox."}, {}),
    TEXT: ({"prompt": "The whale"}, WORDS),
    DRAW: ({"prompt": "seven"}, {"seed": 5, "steps": 4}),
    GRAPH: ({"x": TRIPLES, "y": TRIPLES * 2}, {}),
}


def bearer() -> dict[str, Any]:
    """A new one for each call: the client over HTTP adds to what it is passed."""
    return {"authorization": f"Bearer {KEY}"}


def fetch(path: str, body: dict[str, Any] | None = None, **headers: str) -> bytes:
    """The native API, and what Triton's client has no call for."""
    url = path if path.startswith("http") else f"{URL}{path}"
    sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


def native(model: str) -> Any:
    """What the native API answers to the same."""
    tensors, others = CASES[model]
    if model == GRAPH:
        values: dict[str, Any] = {"tensors": {name: array.tolist() for name, array in tensors.items()}}
    else:
        values = {**tensors, **others}
    output = json.loads(fetch("/v1/predictions", {"version": model, "input": values}, Prefer="wait=60"))
    assert output["status"] == "succeeded", output
    return output["output"]


def tensors_of(kind: Any, model: str) -> list[Any]:
    inputs = []
    for name, value in CASES[model][0].items():
        is_text = isinstance(value, str)
        array = np.array([value.encode()], dtype=np.object_) if is_text else value
        tensor = kind.InferInput(name, list(array.shape), "BYTES" if is_text else "FP32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def require_same(model: str, answer: Any, expected: Any) -> None:
    """Whether the tensors are what the native API has answered."""
    if model == GRAPH:
        for name, rows in expected.items():
            assert np.array_equal(answer.as_numpy(name), np.array(rows, dtype=np.float32)), name
        return
    output = answer.as_numpy("output")
    if model == EMBED:
        vector = np.array(expected, dtype=np.float32)
        assert output.shape == vector.shape
        assert np.abs(output - vector).max() < 1e-5
    elif model == DRAW:  # files, under another address for each prediction
        assert [fetch(url.decode()) for url in output] == [fetch(url) for url in expected]
    else:
        text = expected if isinstance(expected, str) else "".join(expected)
        assert output[0].decode() == text, (output, text)


def check_metadata(client: Any, version: str) -> None:
    assert client.is_server_live(headers=bearer())
    assert client.is_server_ready(headers=bearer())
    assert client.is_model_ready(EMBED, headers=bearer())
    assert client.is_model_ready(EMBED, version, headers=bearer())
    assert "lovage" in str(client.get_server_metadata(headers=bearer()))
    for wish in ("", version):
        assert "BYTES" in str(client.get_model_metadata(EMBED, wish, headers=bearer()))


def check_inference(kind: Any, client: Any, version: str) -> None:
    for model, (_, others) in CASES.items():
        parameters = {"parameters": others} if others else {}
        answer = client.infer(model, tensors_of(kind, model), headers=bearer(), **parameters)
        require_same(model, answer, native(model))
    answer = client.infer(EMBED, tensors_of(kind, EMBED), version, headers=bearer())
    require_same(EMBED, answer, native(EMBED))
    try:
        client.infer("nobody/none", tensors_of(kind, EMBED), headers=bearer())
    except InferenceServerException as error:
        assert "does not exist" in str(error), error
    else:
        raise AssertionError("a model that is not there was run")


def check_loading(kind: Any, client: Any) -> None:
    client.unload_model(GRAPH, headers=bearer())
    client.load_model(GRAPH, headers=bearer())
    assert GRAPH in str(client.get_model_repository_index(headers=bearer()))
    require_same(GRAPH, client.infer(GRAPH, tensors_of(kind, GRAPH), headers=bearer()), native(GRAPH))


async def check_aio(kind: Any, client: Any) -> None:
    assert await client.is_server_live(headers=bearer())
    for model, (_, others) in CASES.items():
        parameters = {"parameters": others} if others else {}
        answer = await client.infer(model, tensors_of(kind, model), headers=bearer(), **parameters)
        require_same(model, answer, await asyncio.to_thread(native, model))


async def check_all_aio(address: str) -> None:
    async with by_http_aio.InferenceServerClient(URL.partition("://")[2], conn_timeout=120) as client:
        await check_aio(by_http_aio, client)
    async with by_grpc_aio.InferenceServerClient(address) as client:
        await check_aio(by_grpc_aio, client)

        async def requests() -> AsyncIterator[dict[str, Any]]:
            inputs = tensors_of(by_grpc_aio, TEXT)
            yield {"model_name": TEXT, "inputs": inputs, "parameters": WORDS}

        pieces = []
        async for result, error in client.stream_infer(requests(), headers=bearer()):
            assert error is None, error
            pieces.append(result.as_numpy("output")[0].decode())
    assert (len(pieces) > 1, "".join(pieces)) == (True, "".join(native(TEXT)))


def check_stream(client: Any) -> None:
    """Tokens as they come; the last answer says that it is."""
    pieces: list[str] = []
    done = threading.Event()

    def on_answer(result: Any, error: Any) -> None:
        if error is not None:
            pieces.append(f"ERROR {error}")
            done.set()
            return
        response = result.get_response()
        if response.outputs:
            pieces.append(result.as_numpy("output")[0].decode())
        if response.parameters["triton_final_response"].bool_param:
            done.set()

    client.start_stream(on_answer, headers=bearer())
    inputs = tensors_of(by_grpc, TEXT)
    client.async_stream_infer(TEXT, inputs, parameters=WORDS, enable_empty_final_response=True)
    assert done.wait(60), pieces
    client.stop_stream()
    assert (len(pieces) > 1, "".join(pieces)) == (True, "".join(native(TEXT))), pieces


def check_session(session: dict[str, Any]) -> None:
    """Its token runs its model and no other."""
    with by_grpc.InferenceServerClient(session["address"]) as client:
        token = {"authorization": f"Bearer {session['token']}"}
        require_same(EMBED, client.infer(EMBED, tensors_of(by_grpc, EMBED), headers=token), native(EMBED))
        try:
            client.infer(TEXT, tensors_of(by_grpc, TEXT), headers=token)
        except InferenceServerException as error:
            assert "This session is for" in str(error), error
        else:
            raise AssertionError("a session's token ran another model")


def check_generate() -> None:
    version = json.loads(fetch(f"/v1/models/{TEXT}"))["latest_version"]["id"]
    body = {"text_input": "The whale", "parameters": WORDS}
    expected = "".join(native(TEXT))
    for base in (f"/v2/models/{TEXT}", f"/v2/models/{TEXT}/versions/{version}"):
        assert json.loads(fetch(f"{base}/generate", body))["text_output"] == expected
        lines = fetch(f"{base}/generate_stream", body).decode().splitlines()
        events = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
        assert "".join(event["text_output"] for event in events) == expected


def main() -> None:
    version = json.loads(fetch(f"/v1/models/{EMBED}"))["latest_version"]["id"]
    session = json.loads(fetch("/v1/sessions", {"model": EMBED}))
    with by_http.InferenceServerClient(URL.partition("://")[2], **PATIENCE) as client:
        check_metadata(client, version)
        check_inference(by_http, client, version)
        check_loading(by_http, client)
    with by_grpc.InferenceServerClient(session["address"]) as client:
        check_metadata(client, version)
        check_inference(by_grpc, client, version)
        check_loading(by_grpc, client)
        check_stream(client)
    asyncio.run(check_all_aio(session["address"]))
    check_session(session)
    check_generate()


if __name__ == "__main__":
    main()
