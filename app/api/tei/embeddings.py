"""TEI's /embed, /embed_all, /embed_sparse and /similarity."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag, model_validator
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.error_shapes import rag_shape
from app.api.model_calls.calls import Call, require_input, wait_for_all
from app.api.model_calls.edge_route import edge_route, respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, by_form, text_or_list
from app.api.model_calls.rag_models import EMBED, PATH_PARAMETERS, declared, open_rag_call
from app.api.model_calls.vectors import read_vectors

router = APIRouter(dependencies=[Depends(caller_of)], tags=["TEI"], route_class=edge_route(rag_shape))

MOST = 2_048
Text = Annotated[str, Field(max_length=1_000_000)]
Inputs = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MOST), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


class TruncatedIn(CallIn):
    """What all of TEI's requests may say of texts that are too long."""

    model: str = Field("", max_length=300, description="Empty: the address's, or MODEL_ALIASES' `tei-embed`.")
    truncate: bool | None = Field(None, description="Only true: what is too long is cut.")
    truncation_direction: str | None = Field(None, max_length=10, description="Only `Right`.")

    @model_validator(mode="before")
    @classmethod
    def _with_parameters(cls, body: Any) -> Any:
        """Hugging Face's InferenceClient puts what stands beside `inputs` into `parameters`."""
        if isinstance(body, dict) and isinstance(body.get("parameters"), dict):
            others = {name: value for name, value in body.items() if name != "parameters"}
            return {**body["parameters"], **others}
        return body

    def check(self) -> None:
        """Raises InvalidRequest for what cannot be had."""
        if self.truncate is False:
            raise refused("truncate", "must be true: what is longer than the model takes is cut")
        if self.truncation_direction and self.truncation_direction.lower() != "right":
            raise refused("truncation_direction", "must be Right")


class EmbedIn(TruncatedIn):
    """Texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["hello", "good morning"]}]})

    inputs: Inputs
    normalize: bool | None = Field(None, description="Default: as the model's version does.")
    prompt_name: str | None = Field(None, max_length=100, description="One of the model's prompts.")
    dimensions: int | None = Field(None, ge=1, le=100_000, description="Keep so many numbers.")

    @property
    def texts(self) -> list[str]:
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs

    def settings(self, call: Call) -> dict[str, Any]:
        """The model's inputs beside the texts. Raises InvalidRequest for one that it does not have."""
        values = {"normalize": self.normalize, "prompt_name": self.prompt_name}
        # True is what clients send by themselves, and what models that cannot choose do in any case.
        settings = {name: value for name, value in values.items() if value not in (None, True)}
        for name in settings:
            if not call.takes(name):
                raise refused(name, f"{call.version.model} does not take it")
        return settings | self.own_inputs(call)


ANSWERS = declared(400, 401, 403, 404, 413, 415)


async def embed(request: Request, body: EmbedIn) -> Response:
    """A vector for each text."""
    body.check()
    call = await open_rag_call(request, body.model, EMBED)
    vectors = await vectors_of(request, call, body.texts, body.settings(call))
    return respond(200, read_vectors(call, vectors, body.dimensions, scaled=body.normalize is not False))


async def vectors_of(request: Request, call: Call, texts: list[str], settings: dict[str, Any]) -> Any:
    """What the model answers to these texts, as one prediction."""
    require_input(call, "text")
    (prediction,) = await wait_for_all(request, call, await call.predict([{"text": texts, **settings}]))
    return prediction.output


async def embed_all(request: Request, body: EmbedIn) -> Response:
    """The vectors of all tokens of each text, from a model whose task is feature extraction."""
    body.check()
    call = await open_rag_call(request, body.model, EMBED)
    require_input(call, "text")
    settings = body.settings(call)
    predictions = await call.predict([{"text": text, **settings} for text in body.texts])
    outputs = [prediction.output for prediction in await wait_for_all(request, call, predictions)]
    return respond(200, [token_vectors(call, output) for output in outputs])


def token_vectors(call: Call, output: Any) -> list[list[float]]:
    """A vector for each token. Raises InvalidRequest for a model that answers with something else."""
    rows = output[0] if isinstance(output, list) and len(output) == 1 else output
    if not (isinstance(rows, list) and rows and isinstance(rows[0], list)):
        raise refused("model", f"{call.version.model} does not answer with a vector for each token")
    return rows


class SparseIn(TruncatedIn):
    """Texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": ["hello", "good morning"]}]})

    inputs: Inputs


class SparseOut(BaseModel):
    """One number of a vector that is zero nearly everywhere."""

    index: int
    value: float


async def embed_sparse(request: Request, body: SparseIn) -> Response:
    """The numbers that are not zero of each text's vector, from a model that answers with {index, value}."""
    body.check()
    call = await open_rag_call(request, body.model, EMBED)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    output = await vectors_of(request, call, texts, body.own_inputs(call))
    if not is_sparse(output, len(texts)):
        raise refused("model", f"{call.version.model} does not answer with sparse vectors")
    return respond(200, output)


def is_sparse(output: Any, count: int) -> bool:
    """Whether this is a list of {index, value} for each text."""
    return (
        isinstance(output, list)
        and len(output) == count
        and all(isinstance(row, list) for row in output)
        and all(
            isinstance(each, dict) and each.keys() == {"index", "value"} for row in output for each in row
        )
    )


class SimilarTexts(BaseModel):
    source_sentence: Text
    sentences: list[Text] = Field(min_length=1, max_length=MOST - 1)


class SimilarityIn(TruncatedIn):
    """A text and what is compared with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"inputs": {"source_sentence": "hello", "sentences": ["hi", "whale"]}}]
        }
    )

    inputs: SimilarTexts


async def similarity(request: Request, body: SimilarityIn) -> Response:
    """The cosine of each sentence's vector with that of the source sentence."""
    body.check()
    call = await open_rag_call(request, body.model, EMBED)
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    output = await vectors_of(request, call, texts, body.own_inputs(call))
    source, *others = read_vectors(call, output, None)
    return respond(200, [cosine(source, other) for other in others])


def cosine(vector: list[float], other: list[float]) -> float:
    """0 for a vector without length."""
    length = math.hypot(*vector) * math.hypot(*other)
    return sum(a * b for a, b in zip(vector, other, strict=True)) / length if length else 0.0


HANDLERS: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "embed": (embed, "Embed texts (TEI)", list[list[float]]),
    "embed_all": (embed_all, "Embed every token of texts (TEI)", list[list[list[float]]]),
    "embed_sparse": (embed_sparse, "Embed texts as sparse vectors (TEI)", list[list[SparseOut]]),
    "similarity": (similarity, "Compare texts (TEI)", list[float]),
}
for _name, (_handler, _summary, _answer) in HANDLERS.items():
    for _prefix, _extra in (("", None), ("/tei/{owner}/{name}", PATH_PARAMETERS)):
        router.add_api_route(
            f"{_prefix}/{_name}",
            _handler,
            methods=["POST"],
            operation_id=f"tei.{'model.' if _prefix else ''}{_name.replace('_', '.')}",
            summary=_summary,
            response_model=None,
            responses={200: {"model": _answer}, **ANSWERS},
            openapi_extra=_extra,
        )
# A TEI's own root does what its model can; Hugging Face's InferenceClient calls it.
router.add_api_route(
    "/tei/{owner}/{name}",
    embed,
    methods=["POST"],
    operation_id="tei.model.root",
    summary="Embed texts (TEI, Hugging Face's InferenceClient)",
    response_model=None,
    responses={200: {"model": list[list[float]]}, **ANSWERS},
    openapi_extra=PATH_PARAMETERS,
)
