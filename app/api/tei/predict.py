"""TEI's /predict and /info."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import __version__
from app.api.deps import caller_of
from app.api.error_shapes import rag_shape
from app.api.model_calls.calls import Call, require_input, wait_for_all
from app.api.model_calls.edge_route import edge_route, respond
from app.api.model_calls.failures import refused
from app.api.model_calls.rag_models import EMBED, PATH_PARAMETERS, PREDICT, declared, open_rag_call
from app.api.tei.embeddings import MOST, Text, TruncatedIn

router = APIRouter(dependencies=[Depends(caller_of)], tags=["TEI"], route_class=edge_route(rag_shape))

MOST_LABELS = 1_000


class PredictIn(TruncatedIn):
    """Texts to classify."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": "I like you."}]})

    inputs: Text | Annotated[list[Text | list[Text]], Field(min_length=1, max_length=MOST)]
    raw_scores: bool | None = Field(None, description="Only false: scores are probabilities.")

    def texts(self) -> list[str]:
        """Raises InvalidRequest for what cannot be had."""
        self.check()
        if self.raw_scores:
            raise refused("raw_scores", "must be false: scores are probabilities")
        items = [self.inputs] if isinstance(self.inputs, str) else self.inputs
        texts = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in items]
        if not all(isinstance(text, str) for text in texts):
            raise refused("inputs", "must be single texts; pairs are scored by /rerank and /v1/score")
        return texts  # type: ignore[return-value]


class LabelOut(BaseModel):
    label: str
    score: float


async def predict(request: Request, body: PredictIn) -> Response:
    """The labels of each text with their probabilities, the likeliest first; of one text a plain list."""
    texts = body.texts()
    call = await open_rag_call(request, body.model, PREDICT)
    require_input(call, "text")
    settings = body.own_inputs(call)
    if "top_k" in call.inputs():
        settings = {"top_k": call.inputs()["top_k"].get("maximum", MOST_LABELS), **settings}
    predictions = await call.predict([{"text": text, **settings} for text in texts])
    ended = await wait_for_all(request, call, predictions)
    labels = [labels_of(call, prediction.output) for prediction in ended]
    return respond(200, labels[0] if isinstance(body.inputs, str) else labels)


def labels_of(call: Call, output: Any) -> list[dict[str, Any]]:
    """Raises InvalidRequest for a model that does not classify."""
    labels = output if isinstance(output, list) else [output]
    if not labels or not all(isinstance(each, dict) and {"label", "score"} <= each.keys() for each in labels):
        raise refused("model", f"{call.version.model} does not answer with labels")
    ranked = sorted(labels, key=lambda each: -each["score"])
    return [{"label": each["label"], "score": each["score"]} for each in ranked]


class InfoOut(BaseModel):
    """What TEI's clients ask a server for. Numbers that are nobody's limit here are null."""

    model_id: str
    model_sha: str
    model_dtype: str | None
    model_type: dict[str, Any]
    max_concurrent_requests: int | None
    max_input_length: int | None
    max_batch_tokens: int | None
    max_client_batch_size: int
    version: str


async def info(request: Request) -> Response:
    """The model that an address serves. `model_sha` is its version's id."""
    call = await open_rag_call(request, "", EMBED)
    version = call.version
    return respond(
        200,
        {
            "model_id": version.model,
            "model_sha": version.id,
            "model_dtype": version.config.get("dtype"),
            "model_type": kind_of(call),
            "max_concurrent_requests": None,
            "max_input_length": None,
            "max_batch_tokens": version.config.get("max_batch_tokens"),
            "max_client_batch_size": MOST,
            "version": __version__,
        },
    )


def kind_of(call: Call) -> dict[str, Any]:
    """What TEI calls a model by what it takes."""
    inputs = call.inputs()
    if "query" in inputs and "texts" in inputs:
        return {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    if "top_k" in inputs and "text" in inputs:
        return {"classifier": {"id2label": {}, "label2id": {}}}
    return {"embedding": {"pooling": call.version.config.get("pooling") or "as the model says"}}


for _prefix, _extra in (("", None), ("/tei/{owner}/{name}", PATH_PARAMETERS)):
    _part = "tei.model." if _prefix else "tei."
    router.add_api_route(
        f"{_prefix}/predict",
        predict,
        methods=["POST"],
        operation_id=f"{_part}predict",
        summary="Classify texts (TEI)",
        response_model=None,
        responses={
            200: {"model": list[LabelOut] | list[list[LabelOut]]},
            **declared(400, 401, 403, 404, 413, 415),
        },
        openapi_extra=_extra,
    )
    router.add_api_route(
        f"{_prefix}/info",
        info,
        methods=["GET"],
        operation_id=f"{_part}info",
        summary="What is served (TEI)",
        response_model=None,
        responses={200: {"model": InfoOut}, **declared(401, 403, 404)},
        openapi_extra=_extra,
    )
