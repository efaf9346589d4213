"""Forms with files, as OpenAI's clients send recordings and pictures. Knows no operation."""

import base64
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from app.api.headers import is_utf8_form
from app.api.model_calls.calls import Call
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn
from app.api.problems import invalid_request
from app.domain.errors import PayloadTooLarge

Body = TypeVar("Body", bound=CallIn)


def require_form(request: Request, file: str) -> None:
    """Raises InvalidRequest naming `file` for a body that is no form."""
    sent_as = request.headers.get("content-type", "")
    if not sent_as.lower().startswith("multipart/form-data") or not is_utf8_form(sent_as):
        raise refused(file, "must be sent as multipart/form-data, its texts in UTF-8")


def read_fields(
    form: FormData, body: type[Body], files: Collection[str], lists: Mapping[str, str] | None = None
) -> Body:
    """The fields beside the `files`; an empty one is not sent. `lists`: fields that may come several times,
    and their names in the body. Raises InvalidRequest."""
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in files:
            continue
        if isinstance(value, UploadFile):
            raise refused(name[:200], "must be a text")
        if lists and name in lists:
            values.setdefault(lists[name], []).append(value)
        else:
            values[name] = value or None
    try:
        return body.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None


async def data_uri(call: Call, name: str, file: Any) -> str:
    """A form's file as the model takes it. Raises InvalidRequest, PayloadTooLarge."""
    if not isinstance(file, UploadFile):
        raise refused(name, "is required, as a file part")
    most = call.services.options.max_body_bytes
    content = await file.read(most + 1)
    if len(content) > most:
        raise PayloadTooLarge(f"A file may have at most {most} bytes here; upload larger ones to /v1/files.")
    kind = (file.content_type or "application/octet-stream").partition(";")[0]
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
