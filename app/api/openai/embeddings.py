"""Embeddings. All texts of a request are one prediction: one row to write, one cancel, and the engine cuts
its batches by length in any case."""

import base64
import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.calls import open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form
from app.api.model_calls.vectors import read_vectors
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.text_wire import Tokens, prompt_form

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

MOST = 2_048
# LangChain, by default, and whoever else counts tokens before it sends a text, sends ids of a tokenizer of
# OpenAI's. Read as the model's own they are another text, and nobody would notice.
FOREIGN_IDS = (
    "holds token ids, which mean another text to this model unless its own tokenizer made them. Send texts"
    " (LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)); ids of the model's own tokenizer are"
    " taken with `token_ids: true`"
)
Text = Annotated[str, Field(max_length=1_000_000)]


Input = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MOST), Tag("<texts>")]
    | Annotated[list[Tokens], Field(min_length=1, max_length=MOST), Tag("<token lists>")],
    by_form(prompt_form, "must be a text, a list of texts, a list of token ids, or a list of such lists"),
]


class EmbeddingsIn(CallIn):
    """What to embed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo/minilm", "input": ["hello", "good morning"]}]}
    )

    model: Model = Field(examples=["demo/minilm"])
    input: Input
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(
        None, ge=1, le=100_000, description="Keep so many numbers, scaled to length 1 again."
    )
    token_ids: bool | None = Field(
        None, description="`input` holds token ids, and they are of the model's own tokenizer."
    )

    @property
    def is_single(self) -> bool:
        """Whether the input is one text, or the ids of one."""
        return isinstance(self.input, str) or isinstance(self.input[0], int)

    def texts(self) -> list[Any]:
        """The texts, or lists of token ids. Raises InvalidRequest for ids that nobody vouches for."""
        texts = [self.input] if self.is_single else list(self.input)
        if not self.token_ids and any(isinstance(text, list) for text in texts):
            raise refused("input", FOREIGN_IDS)
        return texts


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
async def create_embeddings(request: Request, body: EmbeddingsIn) -> Response:
    """A vector for each text or list of token ids."""
    call = await open_call(request, body.model)
    require_input(call, "text")
    predictions = await call.predict([{"text": body.texts(), **body.own_inputs(call)}])
    (prediction,) = await wait_for_all(request, call, predictions)
    data = [
        {"object": "embedding", "index": index, "embedding": encoded(vector, body.encoding_format)}
        for index, vector in enumerate(read_vectors(call, prediction.output, body.dimensions))
    ]
    tokens = int(prediction.metrics.get("input_tokens", 0))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return respond(200, {"object": "list", "data": data, "model": body.model, "usage": usage})


def encoded(vector: list[float], form: str | None) -> Any:
    """As numbers, or base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector
