"""OpenAI's moderations, over models that classify texts: their labels are the categories."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, Tag
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list
from app.api.openai.errors import OpenAIRoute, declared

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

MOST_TEXTS = 128
MOST_LABELS = 1_000
FLAGGED = 0.5  # a category holds from here on
# Labels that say that nothing is the matter; every other one is a category.
HARMLESS = re.compile(
    r"(non|not|no)[ _-]?\w+|safe|neutral|normal|ok|okay|clean|benign|acceptable|none|label_0|positive",
    re.IGNORECASE,
)
Text = Annotated[str, Field(max_length=1_000_000)]


class ModerationTextPart(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: str = Field(max_length=100, description="Only `text`.")
    text: Text | None = None


class ModerationsIn(CallIn):
    """Texts to moderate."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "ada/toxicity", "input": ["a text", "another"]}]}
    )

    model: Model = Field(examples=["ada/toxicity"])
    input: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[
            list[Text | ModerationTextPart], Field(min_length=1, max_length=MOST_TEXTS), Tag("<list>")
        ],
        by_form(text_or_list, "must be a text or a list of texts"),
    ]

    def texts(self) -> list[str]:
        """Raises InvalidRequest for what is no text."""
        parts = [self.input] if isinstance(self.input, str) else self.input
        for number, part in enumerate(parts):
            if isinstance(part, ModerationTextPart) and (part.type != "text" or part.text is None):
                raise refused(f"input.{number}.type", "must be text")
        return [part if isinstance(part, str) else str(part.text) for part in parts]


class ModerationOut(BaseModel):
    """`categories` are the model's labels, but for those that say that a text is harmless."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class ModerationsOut(BaseModel):
    """OpenAI's moderation."""

    id: str
    model: str
    results: list[ModerationOut]


@router.post(
    "/v1/moderations",
    operation_id="openai.moderations.create",
    summary="Moderate texts (OpenAI)",
    response_model=None,
    responses={200: {"model": ModerationsOut}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_moderations(request: Request, body: ModerationsIn) -> Response:
    """Whether each text has one of the labels of a model that classifies texts."""
    call = await open_call(request, body.model)
    require_input(call, "text")
    most = call.inputs().get("top_k", {}).get("maximum", MOST_LABELS)
    labels = {"top_k": min(MOST_LABELS, most)} if "top_k" in call.inputs() else {}
    own = body.own_inputs(call)
    predictions = await call.predict([{"text": text, **labels, **own} for text in body.texts()])
    ended = await wait_for_all(request, call, predictions)
    results = [moderated(call, prediction.output) for prediction in ended]
    return respond(200, {"id": f"modr-{ended[0].id}", "model": body.model, "results": results})


def moderated(call: Call, output: Any) -> dict[str, Any]:
    """One text's result. Raises InvalidRequest for a model that does not answer with labels."""
    labels = output if isinstance(output, list) else [output]
    if not labels or not all(isinstance(each, dict) and {"label", "score"} <= each.keys() for each in labels):
        raise refused("model", f"{call.version.model} does not answer with labels and scores")
    scores = {
        str(each["label"]): float(each["score"])
        for each in labels
        if not HARMLESS.fullmatch(str(each["label"]))
    }
    categories = {label: score >= FLAGGED for label, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {label: ["text"] for label in scores},
    }
