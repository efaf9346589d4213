"""Embeddings. All texts of a request are one prediction: one row to write, one cancel, and the engine cuts
its batches by length in any case."""

import base64
import math
import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.openai import calls
from app.api.openai.errors import OpenAIRoute, declared, refused, respond
from app.api.openai.fields import CallIn, Model, by_form

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

MOST = 2_048
Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]
Token = Annotated[int, Field(ge=0, le=10_000_000)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=100_000)]


def _form(value: Any) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    kinds = {type(one) for one in value}
    return (
        {int: "<tokens>", list: "<token lists>"}.get(kinds.pop(), "<texts>") if len(kinds) == 1 else "<texts>"
    )


Given = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MOST), Tag("<texts>")]
    | Annotated[list[Tokens], Field(min_length=1, max_length=MOST), Tag("<token lists>")],
    by_form(_form, "must be a text, a list of texts, a list of token ids, or a list of such lists"),
]


class EmbeddingsIn(CallIn):
    """What to embed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo/minilm", "input": ["hello", "good morning"]}]}
    )

    model: Model = Field(examples=["demo/minilm"])
    input: Given
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(
        None, ge=1, le=100_000, description="Keep so many numbers, scaled to length 1 again."
    )


class VectorOut(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsageOut(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(BaseModel):
    """OpenAI's list of embeddings."""

    object: Literal["list"] = "list"
    data: list[VectorOut]
    model: str
    usage: EmbeddingUsageOut


@router.post(
    "/v1/embeddings",
    operation_id="openai.embeddings.create",
    summary="Embed texts (OpenAI)",
    response_model=None,
    responses={200: {"model": EmbeddingsOut}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_embeddings(request: Request, asked: EmbeddingsIn) -> Response:
    """A vector for each text or list of token ids."""
    made = await calls.call(request, asked.model)
    calls.needs(made, "text")
    single = isinstance(asked.input, str) or isinstance(asked.input[0], int)
    given = [asked.input] if single else asked.input
    (prediction,) = await calls.ended(
        request, made, await made.predict([{"text": given, **asked.own_inputs(made)}])
    )
    vectors = prediction.output
    if not isinstance(vectors, list) or not vectors or not isinstance(vectors[0], list):
        raise refused("model", f"{made.version.model} does not answer with vectors")
    if asked.dimensions and asked.dimensions > len(vectors[0]):
        raise refused("dimensions", f"the model's vectors have {len(vectors[0])}")
    written = [encoded(shortened(vector, asked.dimensions), asked.encoding_format) for vector in vectors]
    tokens = int(prediction.metrics.get("input_tokens", 0))
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(written)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return respond(200, {"object": "list", "data": data, "model": asked.model, "usage": usage})


def shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """The first numbers, scaled to length 1 (as models trained for it expect: Kusupati et al. 2022)."""
    if not dimensions or dimensions >= len(vector):
        return vector
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [number / length for number in kept]


def encoded(vector: list[float], form: str | None) -> Any:
    """As numbers, or base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector
