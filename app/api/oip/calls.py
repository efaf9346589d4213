"""What routes of the protocol run: the model that an address names, maybe by a version's id."""

from dataclasses import replace
from typing import Any

from fastapi import Request

from app.api.deps import caller_of, services_of
from app.api.model_calls.calls import Call, open_call
from app.api.model_calls.failures import NoModel, refused
from app.domain.errors import InvalidInput, NotFound, wrong_fields
from app.domain.predictions import Prediction
from app.domain.versions import is_name


async def open_model_call(request: Request, model: str, version: str = "") -> Call:
    """The call of a model by `owner/name`, an alias or a bare name; `version` is a version's id or tag, ""
    for the current one. Raises as `open_call`, and InvalidRequest for what is no version."""
    if not version:
        return await open_call(request, model)
    if not is_name(version):
        raise refused("model_version", "must be empty, a version's id (64 hex digits) or its tag")
    try:
        reference = await services_of(request).model_names.reference(await caller_of(request), model)
    except NotFound:
        raise NoModel(f"The model `{model[:200]}` does not exist or you do not have access to it.") from None
    return await open_call(request, f"{reference}:{version}")


async def predict(call: Call, values: dict[str, Any]) -> Prediction:
    """One prediction. Raises InvalidRequest that names inputs as the model does."""
    try:
        (prediction,) = await call.predict([values])
    except InvalidInput as error:
        named = (replace(field, field=field.field.removeprefix("input.")) for field in error.fields)
        raise wrong_fields(tuple(named)) from None
    return prediction
