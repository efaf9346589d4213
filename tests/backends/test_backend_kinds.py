"""Each kind of backend against a small server that answers as the real ones do: what it serves, and one
run."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Writer, send_json
from gateway_support import open_backend, registered

from app.backends.base import BackendCall
from app.backends.oip_server import nested, tensor_of
from app.backends.registry import names
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Event, Finished

Start = Callable[..., FakeUpstream]


def served(upstream: FakeUpstream, kind: str, **more: Any) -> list[ServedModel]:
    """What it says that it serves, after it was checked."""

    async def look() -> list[ServedModel]:
        server = open_backend(registered(upstream, "x", kind=kind, **more))
        try:
            await server.check()
            return list(await server.list_models())
        finally:
            await server.client.close()

    return asyncio.run(look())


def run(upstream: FakeUpstream, kind: str, task: str, model: str = "m", **values: Any) -> list[Event]:
    async def call() -> list[Event]:
        server = open_backend(registered(upstream, "x", kind=kind))
        try:
            return [event async for event in server.run(BackendCall(model, task, values))]
        finally:
            await server.client.close()

    return asyncio.run(call())


def answers(upstream: FakeUpstream, **by_path: Any) -> None:
    """A JSON value for each path; `_` is /."""

    def handler(value: Any) -> Any:
        async def answer(_: FakeUpstream, path: str, body: dict[str, Any], writer: Writer) -> None:
            await send_json(writer, value(body) if callable(value) else value)

        return answer

    for path, value in by_path.items():
        upstream.handlers["/" + path.replace("__", "-").replace("_", "/")] = handler(value)


def test_every_kind_can_be_found() -> None:
    of_servers = ["openai", "tgi", "tei", "ollama", "oip", "hybrid", "cli", "managed", "lovage"]
    assert names() == [*of_servers, "p2p", "mcp"]


def test_tgi_says_its_model_and_its_length(start_upstream: Start) -> None:
    upstream = start_upstream()
    answers(upstream, health={}, info={"model_id": "org/chat", "max_total_tokens": 4096})
    assert served(upstream, "tgi") == [ServedModel("org/chat", "text-generation", 4096, streams=True)]
    assert run(upstream, "tgi", "text-generation", prompt="x")[-1].output == ["Hello", " there", "!"]  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "task"), [("embedding", "embedding"), ("reranker", "pair-scoring")])
def test_tei_says_what_it_is_for(start_upstream: Start, kind: str, task: str) -> None:
    upstream = start_upstream()
    answers(upstream, health={}, info={"model_id": "e", "model_type": {kind: {}}, "max_input_length": 512})
    assert served(upstream, "tei") == [ServedModel("e", task, 512)]


def test_tei_embeds_and_scores(start_upstream: Start) -> None:
    upstream = start_upstream()
    scores = [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]
    answers(upstream, embed=lambda body: [[float(len(text))] for text in body["inputs"]], rerank=scores)
    assert run(upstream, "tei", "embedding", text="abc") == [Finished([3.0])]
    assert run(upstream, "tei", "embedding", text=["a", "bb"]) == [Finished([[1.0], [2.0]])]
    assert run(upstream, "tei", "pair-scoring", query="q", texts=["a", "b"]) == [Finished([0.1, 0.9])]
    answers(upstream, embed=[[1.0]])
    with pytest.raises(UpstreamFailed, match="1 results for 2 inputs"):
        run(upstream, "tei", "embedding", text=["a", "b"])


def test_ollama_shows_what_each_model_can(start_upstream: Start) -> None:
    upstream = start_upstream()
    facts = {
        "chat:1b": {"capabilities": ["completion"], "model_info": {"llama.context_length": 8192}},
        "nomic": {
            "capabilities": ["embedding"],
            "model_info": {"bert.context_length": 512, "bert.embedding_length": 768},
        },
    }
    answers(
        upstream,
        api_version={"version": "0.9"},
        api_tags={"models": [{"model": name} for name in facts]},
        api_show=lambda body: facts[body["model"]],
    )
    assert served(upstream, "ollama") == [
        ServedModel("chat:1b", "text-generation", 8192, streams=True),
        ServedModel("nomic", "embedding", 512, 768),
    ]
    assert run(upstream, "ollama", "text-generation", messages=[])[-1].output == ["Hello", " there", "!"]  # type: ignore[union-attr]


METADATA = {
    "name": "add",
    "inputs": [{"name": "A", "datatype": "INT32", "shape": [-1, 2]}],
    "outputs": [{"name": "SUM", "datatype": "INT32", "shape": [-1]}],
}


def test_the_open_inference_protocol_runs_tensors_by_their_names(start_upstream: Start) -> None:
    upstream = start_upstream()

    def infer(body: dict[str, Any]) -> dict[str, Any]:
        [tensor] = body["inputs"]
        rows = nested(tensor["data"], tensor["shape"])
        return {"outputs": [{"name": "SUM", "shape": [len(rows)], "data": [sum(row) for row in rows]}]}

    answers(
        upstream,
        v2_health_ready={},
        v2_repository_index=[{"name": "add"}],
        v2_models_add=METADATA,
        v2_models_add_infer=infer,
    )
    [model] = served(upstream, "oip")
    assert model.inputs["required"] == ["A"]
    assert model.inputs["properties"]["A"]["items"]["maxItems"] == 2
    assert served(upstream, "oip", options={"models": ["add"]}) == [model]
    assert run(upstream, "oip", "tensors", "add", A=[[1, 2], [3, 4]]) == [Finished({"SUM": [3, 7]})]
    with pytest.raises(UpstreamFailed, match="different lengths") as refused:
        run(upstream, "oip", "tensors", "add", A=[[1, 2], [3]])
    assert refused.value.fault is Fault.INPUT


def test_tensors_are_flat_on_the_wire() -> None:
    tensor = tensor_of("A", "FP32", [[[1.0], [2.0]]])
    assert (tensor["shape"], tensor["data"]) == ([1, 2, 1], [1.0, 2.0])
    assert nested([1.0, 2.0], [1, 2, 1]) == [[[1.0], [2.0]]]
    assert tensor_of("A", "BYTES", "x")["shape"] == [1]


def prediction(**more: Any) -> dict[str, Any]:
    return {"id": "p1", "status": "processing", "output": None, "completed_at": None, "urls": {}, **more}


def test_another_lovage_streams_what_it_has_made_so_far(start_upstream: Start) -> None:
    upstream = start_upstream()
    urls = {"stream": "http://x"}
    looks = [
        prediction(output=["One"], urls=urls),
        prediction(output=["One", " two"], urls=urls),
        prediction(
            status="succeeded",
            output=["One", " two", "!"],
            urls=urls,
            completed_at="now",
            metrics={"output_tokens": 3, "run": 1.0},
        ),
    ]
    answers(upstream, v1_predictions=prediction(urls=urls), v1_predictions_p1=lambda _: looks.pop(0))
    *chunks, last = run(upstream, "lovage", "prediction", "ada/words", prompt="x")
    assert [chunk.data for chunk in chunks] == ["One", " two", "!"]  # type: ignore[union-attr]
    assert last == Finished(["One", " two", "!"], {"output_tokens": 3})
    assert upstream.bodies[0] == {"version": "ada/words", "input": {"prompt": "x"}}


def test_what_failed_there_is_not_tried_again(start_upstream: Start) -> None:
    upstream = start_upstream()
    answers(upstream, v1_predictions=prediction(status="failed", error="it broke", completed_at="now"))
    with pytest.raises(UpstreamFailed, match="it broke") as failed:
        run(upstream, "lovage", "prediction", "ada/words")
    assert failed.value.fault is Fault.MODEL


def test_a_cancel_is_passed_on_to_another_lovage(start_upstream: Start) -> None:
    upstream = start_upstream()
    answers(
        upstream, v1_predictions=prediction(), v1_predictions_p1=prediction(), v1_predictions_p1_cancel={}
    )

    async def cancel() -> None:
        server = open_backend(registered(upstream, "x", kind="lovage"))

        async def follow() -> None:
            async for _ in server.run(BackendCall("a/b", "prediction", {})):
                pass

        task = asyncio.create_task(follow())
        while not upstream.calls["/v1/predictions/p1"]:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.client.close()

    asyncio.run(cancel())
    assert upstream.calls["/v1/predictions/p1/cancel"] == 1


def test_the_models_of_another_lovage_have_their_own_inputs(start_upstream: Start) -> None:
    upstream = start_upstream()
    schemas = {
        "Input": {
            "type": "object",
            "properties": {
                "style": {"allOf": [{"$ref": "#/components/schemas/style"}], "default": "plain"},
                "image": {"type": "string", "format": "uri"},
            },
        },
        "style": {"type": "string", "enum": ["plain", "bold"]},
        "Output": {"title": "Output", "type": "array", "x-cog-array-type": "iterator"},
    }
    document = {"latest_version": {"openapi_schema": {"components": {"schemas": schemas}}}}
    listed = [{"owner": "ada", "name": "words", "latest_version": {"id": "v"}}, {"latest_version": None}]
    answers(upstream, health={}, v1_models_ada_words=document)
    answers(upstream, **{"v1_models?limit=100": {"results": listed}})
    [model] = served(upstream, "lovage")
    assert (model.name, model.task, model.streams) == ("ada/words", "prediction", True)
    assert model.inputs["properties"] == {
        "style": {"default": "plain", "type": "string", "enum": ["plain", "bold"]},
        "image": {"type": "string"},
    }
