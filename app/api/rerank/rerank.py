"""One address for three shapes: `documents` is Cohere's and Jina's, `texts` is TEI's."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.error_shapes import rag_shape
from app.api.model_calls.calls import Call, require_input, wait_for_all
from app.api.model_calls.edge_route import edge_route, respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, by_form
from app.api.model_calls.rag_models import PATH_PARAMETERS, RERANK, declared, open_rag_call

router = APIRouter(dependencies=[Depends(caller_of)], tags=["Rerank"], route_class=edge_route(rag_shape))

MOST = 1_024
Text = Annotated[str, Field(max_length=1_000_000)]


def _document_form(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<object>" if isinstance(value, dict) else None


Document = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[dict[str, Any], Tag("<object>")],
    by_form(_document_form, "must be a text, or an object with a `text`"),
]


class RerankIn(CallIn):
    """A query and what is to be sorted by how well it answers it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "ada/reranker", "query": "What is celery?", "documents": ["A plant.", "A whale."]}
            ]
        }
    )

    model: str = Field("", max_length=300, description="Empty: MODEL_ALIASES' `tei-rerank`.")
    query: Text
    documents: list[Document] | None = Field(
        None, min_length=1, max_length=MOST, description="Texts, or objects with a `text` (Cohere, Jina)."
    )
    texts: list[Text] | None = Field(None, min_length=1, max_length=MOST, description="TEI's documents.")
    top_n: int | None = Field(None, ge=1, description="At most so many results.")
    return_documents: bool | None = Field(None, description="With the text of each result.")
    return_text: bool | None = Field(None, description="The same, TEI's.")
    rank_fields: list[str] | None = Field(
        None, max_length=20, description="Of objects: the fields that make the text; default: `text`."
    )
    raw_scores: bool | None = Field(None, description="The model's logits as they are.")
    truncate: bool | None = Field(None, description="Only true: what is too long is cut.")
    truncation_direction: str | None = Field(None, max_length=10, description="Only `right`.")

    def check(self) -> None:
        """Raises InvalidRequest for what cannot be had."""
        if (self.documents is None) == (self.texts is None):
            raise refused("documents", "is required" if self.documents is None else "stands for `texts`")
        if self.truncate is False:
            raise refused("truncate", "must be true: what is longer than the model takes is cut")
        if self.truncation_direction and self.truncation_direction.lower() != "right":
            raise refused("truncation_direction", "must be Right")

    def plain(self) -> list[str]:
        """The documents as texts. Raises InvalidRequest naming one that has none."""
        if self.texts is not None:
            return self.texts
        return [self._text(number, document) for number, document in enumerate(self.documents or ())]

    def shown(self, number: int) -> dict[str, Any]:
        """A result's document, where it was asked for."""
        if not self.return_documents or not self.documents:
            return {}
        document = self.documents[number]
        return {"document": document if isinstance(document, dict) else {"text": document}}

    def _text(self, number: int, document: str | dict[str, Any]) -> str:
        if isinstance(document, str):
            return document
        fields = self.rank_fields or ["text"]
        parts = [str(document[name]) for name in fields if document.get(name) is not None]
        if not parts:
            raise refused(f"documents.{number}", f"has no {' or '.join(fields)}"[:200])
        return "\n".join(parts)


class ResultOut(BaseModel):
    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class TokensOut(BaseModel):
    total_tokens: int
    prompt_tokens: int


class RerankOut(BaseModel):
    """The best first, in a form that Cohere's and Jina's clients read; to TEI's `texts` the answer is a list
    of {index, score, text}."""

    id: str
    object: str = "list"
    model: str
    results: list[ResultOut]
    meta: dict[str, Any]
    usage: TokensOut


async def rerank(request: Request, body: RerankIn) -> Response:
    """Scores every document against the query: the best first, `top_n` of them. To `documents` the answer has
    Cohere's and Jina's form, to `texts` TEI's."""
    body.check()
    call = await open_rag_call(request, body.model, RERANK)
    require_input(call, "texts")
    texts = body.plain()
    settings = body.own_inputs(call) | raw_scores(call, body.raw_scores)
    predictions = await call.predict([{"query": body.query, "texts": texts, **settings}])
    (prediction,) = await wait_for_all(request, call, predictions)
    scores = single_scores(call, prediction.output, len(texts))
    ranked = sorted(range(len(texts)), key=lambda number: -scores[number])[: body.top_n]
    if body.texts is not None:
        shown = texts if body.return_text else None
        return respond(200, [_as_tei(number, scores, shown) for number in ranked])
    results = [
        {"index": number, "relevance_score": scores[number], **body.shown(number)} for number in ranked
    ]
    tokens = int(prediction.metrics.get("input_tokens", 0))
    answer = {
        "id": prediction.id,
        "object": "list",
        "model": body.model or call.version.model,
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"total_tokens": tokens, "prompt_tokens": tokens},
    }
    return respond(200, answer)


def _as_tei(number: int, scores: list[float], texts: list[str] | None) -> dict[str, Any]:
    return {"index": number, "score": scores[number], **({"text": texts[number]} if texts else {})}


def raw_scores(call: Call, wish: bool | None) -> dict[str, bool]:
    """The input that asks for logits. Raises InvalidRequest for a model that has none."""
    if not wish:
        return {}
    if not call.takes("raw_scores"):
        raise refused("raw_scores", f"{call.version.model} does not take it")
    return {"raw_scores": True}


def single_scores(call: Call, output: Any, count: int) -> list[float]:
    """One number for each pair. Raises InvalidRequest for a model that answers with something else."""
    if not isinstance(output, list) or len(output) != count or any(isinstance(each, list) for each in output):
        raise refused("model", f"{call.version.model} does not answer with one score for each text")
    return [float(score) for score in output]


ADDRESSES = {
    "/v1/rerank": ("rerank.create", {}),
    "/v2/rerank": ("rerank.cohere", {}),
    "/rerank": ("rerank.tei", {}),
    "/tei/{owner}/{name}/rerank": ("tei.rerank", PATH_PARAMETERS),
}
for _path, (_operation, _extra) in ADDRESSES.items():
    router.add_api_route(
        _path,
        rerank,
        methods=["POST"],
        operation_id=_operation,
        summary="Sort texts by how well they answer a query",
        response_model=None,
        responses={200: {"model": RerankOut}, **declared(400, 401, 403, 404, 413, 415)},
        openapi_extra=_extra or None,
    )
