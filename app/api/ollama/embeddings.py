"""Ollama's embeddings: of several texts, and the older call of one."""

import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.vectors import read_vectors
from app.api.ollama.errors import OllamaRoute, declared
from app.api.ollama.wire import OllamaEmbeddingIn, OllamaEmbedIn, VectorsIn
from app.domain.predictions import Prediction

router = APIRouter(dependencies=[Depends(caller_of)], tags=["Ollama"], route_class=OllamaRoute)


class OllamaEmbedOut(BaseModel):
    """A vector for each text; times in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingOut(BaseModel):
    """One vector."""

    embedding: list[float]


@router.post(
    "/api/embed",
    operation_id="ollama.embed",
    summary="Embed texts (Ollama)",
    response_model=None,
    responses={200: {"model": OllamaEmbedOut}, **declared(400, 401, 403, 404, 413, 415)},
)
async def embed(request: Request, body: OllamaEmbedIn) -> Response:
    """A vector for each text."""
    began = time.monotonic_ns()
    if body.truncate is False:
        raise refused("truncate", "must be true: what is longer than the model takes is cut")
    texts = [body.input] if isinstance(body.input, str) else body.input
    call, prediction = await _embedded(request, body, texts)
    vectors = read_vectors(call, prediction.output, body.dimensions)
    passed = time.monotonic_ns() - began
    answer: dict[str, Any] = {
        "model": body.model,
        "embeddings": vectors,
        "total_duration": passed,
        "load_duration": max(0, passed - int(float(prediction.metrics.get("run", 0)) * 1e9)),
        "prompt_eval_count": int(prediction.metrics.get("input_tokens", 0)),
    }
    return respond(200, answer)


@router.post(
    "/api/embeddings",
    operation_id="ollama.embeddings",
    summary="Embed a text (Ollama, the older call)",
    response_model=None,
    responses={200: {"model": OllamaEmbeddingOut}, **declared(400, 401, 403, 404, 413, 415)},
)
async def embeddings(request: Request, body: OllamaEmbeddingIn) -> Response:
    """The vector of one text."""
    call, prediction = await _embedded(request, body, [body.prompt])
    return respond(200, {"embedding": read_vectors(call, prediction.output, None)[0]})


async def _embedded(request: Request, body: VectorsIn, texts: list[str]) -> tuple[Call, Prediction]:
    """The prediction whose output are the vectors of these texts."""
    call = await open_call(request, body.model)
    require_input(call, "text")
    body.check_options(call.ignored)
    predictions = await call.predict([{"text": texts, **body.own_inputs(call)}])
    (prediction,) = await wait_for_all(request, call, predictions)
    return call, prediction
