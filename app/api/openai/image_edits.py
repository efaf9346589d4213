"""OpenAI's edits and variations of pictures, over models that take a picture."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.datastructures import FormData
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.calls import Call, open_call, require_input
from app.api.model_calls.failures import refused
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.forms import data_uri, read_fields, require_form
from app.api.openai.images import ImagesOut, PicturesIn, answer_with_pictures, picture_inputs

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

FILES = ("image", "image[]", "mask")


class EditIn(PicturesIn):
    """A form's fields beside the pictures."""

    prompt: str = Field(max_length=32_000)


def form_of(required: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """The description of a form with a picture."""
    properties = {
        "image": {"type": "string", "format": "binary", "description": "The picture."},
        "model": {"type": "string", "maxLength": 300},
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "size": {"type": "string", "maxLength": 11},
        "response_format": {"type": "string", "enum": ["url", "b64_json"]},
        **more,
    }
    schema = {"type": "object", "required": ["image", "model", *required], "properties": properties}
    example = {"image": "\x89PNG…", "model": "ada/painter", **dict.fromkeys(required, "at night")}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ImagesOut},
    **declared(400, 401, 403, 404, 413, 415, 429),
}
PROMPT = {"type": "string", "maxLength": 32_000}
MASK = {"type": "string", "format": "binary", "description": "For a model that has such an input."}


@router.post(
    "/v1/images/edits",
    operation_id="openai.images.edit",
    summary="Change a picture by a text (OpenAI)",
    response_model=None,
    responses=ANSWERS,
    openapi_extra=form_of(("prompt",), prompt=PROMPT, mask=MASK),
)
async def edit_image(request: Request) -> Response:
    """Pictures made of a picture and a text, by a model whose inputs are `image` and `prompt`."""
    return await _draw(request, EditIn)


@router.post(
    "/v1/images/variations",
    operation_id="openai.images.variations.create",
    summary="Vary a picture (OpenAI)",
    response_model=None,
    responses=ANSWERS,
    openapi_extra=form_of(()),
)
async def vary_image(request: Request) -> Response:
    """Pictures like a picture, by a model whose input is `image`."""
    return await _draw(request, PicturesIn)


async def _draw(request: Request, kind: type[PicturesIn]) -> Response:
    await caller_of(request)
    require_form(request, "image")
    async with request.form(max_files=16, max_fields=24) as form:
        body = read_fields(form, kind, FILES)
        call = await open_call(request, body.model)
        require_input(call, "image")
        values = {"prompt": body.prompt} if isinstance(body, EditIn) else {}
        for name in values:
            require_input(call, name)
        inputs = picture_inputs(call, body, values | await _pictures(call, form))
        predictions = await call.predict(inputs)
    return await answer_with_pictures(request, call, body, predictions)


async def _pictures(call: Call, form: FormData) -> dict[str, Any]:
    """The picture and its mask. Raises InvalidRequest naming what the model does not take."""
    pictures = [*form.getlist("image"), *form.getlist("image[]")]
    if len(pictures) > 1:
        raise refused("image", f"must be one: {call.version.model} takes no more")
    values = {"image": await data_uri(call, "image", pictures[0] if pictures else None)}
    if form.get("mask"):
        if not call.takes("mask"):
            raise refused("mask", f"is not supported: {call.version.model} has no such input")
        values["mask"] = await data_uri(call, "mask", form.get("mask"))
    return values
