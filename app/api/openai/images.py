"""Pictures from text."""

import base64
import re
import time
from collections.abc import Sequence
from typing import Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.deps import base_url, caller_of
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model
from app.api.openai.errors import OpenAIRoute, declared
from app.domain.predictions import Prediction
from app.services.predictions.prediction_view import own_files

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

SIZE = re.compile(r"(\d{1,5})x(\d{1,5})\Z")


class PicturesIn(CallIn):
    """How many pictures, and in which form."""

    n: int | None = Field(1, ge=1, le=10)
    size: str | None = Field(None, max_length=11, description="`256x256`, or `auto`: the model's own.")
    response_format: Literal["url", "b64_json"] | None = "url"
    quality: Literal["auto", "standard"] | None = Field(None, description="Nothing else is supported.")
    output_format: Literal["png"] | None = Field(None, description="Nothing else is supported.")

    def measures(self) -> dict[str, int]:
        """Width and height, when they are given. Raises InvalidRequest."""
        if self.size in (None, "auto"):
            return {}
        match = SIZE.match(self.size or "")
        if match is None:
            raise refused("size", "must be like 256x256, or auto")
        return {"width": int(match[1]), "height": int(match[2])}


class ImagesIn(PicturesIn):
    """What to draw."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "demo/digits", "prompt": "seven", "n": 1}]}
    )

    model: Model = Field(examples=["demo/digits"])
    prompt: str = Field(max_length=32_000)


class ImageOut(BaseModel):
    url: str | None = None
    b64_json: str | None = None


class ImagesOut(BaseModel):
    """OpenAI's list of pictures."""

    created: int
    data: list[ImageOut]


@router.post(
    "/v1/images/generations",
    operation_id="openai.images.generate",
    summary="Draw pictures (OpenAI)",
    response_model=None,
    responses={200: {"model": ImagesOut}, **declared(400, 401, 403, 404, 413, 415, 429)},
)
async def create_images(request: Request, body: ImagesIn) -> Response:
    """Pictures as signed URLs or as base64."""
    call = await open_call(request, body.model)
    require_input(call, "prompt")
    predictions = await call.predict(picture_inputs(call, body, {"prompt": body.prompt}))
    return await answer_with_pictures(request, call, body, predictions)


def picture_inputs(call: Call, body: PicturesIn, values: dict[str, Any]) -> list[dict[str, Any]]:
    """One prediction for all pictures where the model can make several, else one for each. Raises
    InvalidRequest."""
    measures = body.measures()
    if any(name not in call.inputs() for name in measures):
        raise refused("size", f"{call.version.model} does not take it")
    values = values | measures | body.own_inputs(call)
    count = body.n or 1
    if "num_images" in call.inputs():
        return [{"num_images": count, **values}]
    return [values] * count


async def answer_with_pictures(
    request: Request, call: Call, body: PicturesIn, predictions: Sequence[Prediction]
) -> Response:
    """When all are drawn. Raises RunFailed; InvalidRequest for a model that answers with something else."""
    ended = await wait_for_all(request, call, predictions)
    keys = [key for prediction in ended for key in own_files(prediction)]
    if not keys:
        raise refused("model", f"{call.version.model} does not answer with files")
    pictures = [await _picture(request, call, key, body.response_format) for key in keys]
    return respond(200, {"created": int(time.time()), "data": pictures})


async def _picture(request: Request, call: Call, key: str, form: str | None) -> dict[str, str]:
    storage, seconds = call.services.storage, call.services.options.file_url_seconds
    if form == "b64_json":
        content = await run_sync(lambda: b"".join(storage.open(key)[0]))
        return {"b64_json": base64.b64encode(content).decode()}
    return {"url": storage.url(key, seconds, base_url(request))}
