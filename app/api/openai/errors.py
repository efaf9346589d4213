"""OpenAI's error shape on OpenAI's routes, from the same errors as everywhere else. Knows no model and no
prediction."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.openai_shape import shape
from app.api.problems import SERVER_FAULT, error_headers, invalid_request, status_of
from app.domain.errors import (
    InvalidInput,
    InvalidRequest,
    LovageError,
    NotFound,
    PayloadTooLarge,
    wrong_field,
)
from app.domain.predictions import Prediction, Status

# What our inputs are called in OpenAI's requests.
PARAMS = {
    "max_new_tokens": "max_tokens",
    "num_images": "n",
    "text": "input",
    "width": "size",
    "height": "size",
}
IGNORED = "ignored_fields"  # of a request's scope: names of its fields that change nothing here
LONGEST_IGNORED = 1_000  # characters of the header that names them
MOST_FIELDS = 5  # of one request that are named


class ErrorBody(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorOut(BaseModel):
    """Every error of these routes."""

    error: ErrorBody


def refused(param: str, sentence: str) -> InvalidRequest:
    """A parameter that is not supported here, named."""
    return wrong_field(param, sentence, "unsupported")


def status_for(error: LovageError) -> int:
    """As on the native routes, but what is wrong with a request is a 400."""
    status = status_of(error)
    return 400 if isinstance(error, InvalidRequest) and not isinstance(error, PayloadTooLarge) else status


def error_body(error: LovageError) -> dict[str, Any]:
    """`{"error": …}` of an error."""
    status = status_for(error)
    if isinstance(error, NoModel):
        return shape(status, error.detail, "model", "model_not_found")
    message = SERVER_FAULT if status == 500 and error.code == "error" else _sentence(error)
    return shape(status, message, next(iter(_names(error)), None))


def _sentence(error: LovageError) -> str:
    """What is wrong in one line, with the names that OpenAI's requests have."""
    if not isinstance(error, InvalidRequest) or not error.fields:
        return error.detail.strip()
    named = zip(_names(error), error.fields, strict=True)
    sentences = (f"{name}: {field.description}" for name, field in named)
    return "; ".join(list(dict.fromkeys(sentences))[:MOST_FIELDS]) + "."


def _names(error: LovageError) -> list[str]:
    """The fields of an error as OpenAI's requests name them; those of a model's input come as `input.…`."""
    names = [field.field for field in error.fields] if isinstance(error, InvalidRequest) else []
    if not isinstance(error, InvalidInput):
        return names
    parts = (name.removeprefix("input.").partition(".") for name in names)
    return [PARAMS.get(first, first) + dot + rest for first, dot, rest in parts]


def _without_tags(errors: Any) -> list[dict[str, Any]]:
    """pydantic's errors without the tags of forms."""
    return [
        {**error, "loc": tuple(part for part in error["loc"] if not str(part).startswith("<"))}
        for error in errors
    ]


class NoModel(NotFound):
    """The model is not there, or not the caller's."""


class RunFailed(LovageError):
    """A prediction that did not succeed, as these routes answer it."""

    def __init__(self, status: int, message: str, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.failure = code

    @property
    def body(self) -> dict[str, Any]:
        return shape(self.status, self.detail, None, self.failure)


def failure_of(prediction: Prediction) -> RunFailed:
    """Why a prediction that has ended has no answer."""
    if prediction.status is Status.CANCELED:
        return RunFailed(500, prediction.error or "The prediction was canceled.", "canceled")
    status = {"invalid_input": 400, "model_unavailable": 503}.get(prediction.error_code or "", 500)
    return RunFailed(status, prediction.error or "The prediction failed.", prediction.error_code)


class OpenAIRoute(CheckedRoute):
    """Answers errors in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return with_ignored(request, await inner(request))
            except RunFailed as error:
                return respond(error.status, error.body)
            except LovageError as error:
                return respond(status_for(error), error_body(error), error_headers(error))
            except RequestValidationError as error:
                return respond(400, error_body(invalid_request(_without_tags(error.errors()))))
            except HTTPException as error:
                return respond(error.status_code, shape(error.status_code, str(error.detail)))

        return handle


def with_ignored(request: Request, response: Response) -> Response:
    """The response, whose header names the fields of the request that were taken and change nothing."""
    if names := request.scope.get(IGNORED):
        response.headers["Ignored-Fields"] = (
            ", ".join(names)[:LONGEST_IGNORED].encode("ascii", "replace").decode()
        )
    return response


def respond(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """JSON."""
    return Response(orjson.dumps(body), status, headers, "application/json")


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {code: {"description": "An error.", "model": ErrorOut} for code in sorted({*codes, 429, 500, 503})}
