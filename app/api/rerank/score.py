"""vLLM's scores of pairs of texts."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.error_shapes import rag_shape
from app.api.model_calls.calls import open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import edge_route, respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list
from app.api.model_calls.rag_models import declared
from app.api.rerank.rerank import MOST, Text, single_scores

router = APIRouter(dependencies=[Depends(caller_of)], tags=["Rerank"], route_class=edge_route(rag_shape))

Texts = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MOST), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


class ScoreIn(CallIn):
    """Pairs: one text against many, or two lists of the same length."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "ada/reranker", "text_1": "What is celery?", "text_2": ["A plant.", "A whale."]}
            ]
        }
    )

    model: Model = Field(examples=["ada/reranker"])
    text_1: Texts
    text_2: Texts

    def pairs(self) -> list[list[str]]:
        """Raises InvalidRequest when the lists do not fit."""
        first = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        second = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second):
            raise refused("text_2", "must have as many texts as text_1, or text_1 be one text")
        return [list(pair) for pair in zip(first, second, strict=True)]


class ScoredOut(BaseModel):
    index: int
    object: str = "score"
    score: float


class ScoresOut(BaseModel):
    """A score for each pair, in their sequence."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[ScoredOut]
    usage: dict[str, int]


@router.post(
    "/v1/score",
    operation_id="score.create",
    summary="Score pairs of texts (vLLM)",
    response_model=None,
    responses={200: {"model": ScoresOut}, **declared(400, 401, 403, 404, 413, 415)},
)
async def score(request: Request, body: ScoreIn) -> Response:
    """How well the texts of each pair fit each other."""
    call = await open_call(request, body.model)
    require_input(call, "pairs")
    pairs = body.pairs()
    inputs = {"pairs": pairs, **body.own_inputs(call)}
    (prediction,) = await wait_for_all(request, call, await call.predict([inputs]))
    scores = single_scores(call, prediction.output, len(pairs))
    tokens = int(prediction.metrics.get("input_tokens", 0))
    data: list[dict[str, Any]] = [
        {"index": index, "object": "score", "score": each} for index, each in enumerate(scores)
    ]
    answer = {
        "id": f"score-{prediction.id}",
        "object": "list",
        "created": int(time.time()),
        "model": body.model,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }
    return respond(200, answer)
