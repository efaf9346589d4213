"""Errors on the wire: one table from the domain's errors to HTTP, one shape (RFC 9457,
application/problem+json).

`detail` is always a string, because clients read it as one. An answer never repeats what was sent, and never
holds a trace. At the addresses of other platforms' clients the shape is theirs (error_shapes).
"""

import math
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.api.error_shapes import ABSENT, is_shared, openai_shape, shape_for
from app.api.methods import allowed_methods
from app.domain.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    InvalidRequest,
    LovageError,
    NotFound,
    PayloadTooLarge,
    StorageFailed,
    TooMany,
    Unauthenticated,
    Unavailable,
    wrong_fields,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lovage:error:"

# The first class that fits decides, so subclasses stand before their parents.
STATUS: tuple[tuple[type[LovageError], int], ...] = (
    (PayloadTooLarge, 413),
    (InvalidRequest, 422),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Gone, 410),
    (TooMany, 429),
    (Unavailable, 503),
    (StorageFailed, 503),
    (LovageError, 500),
)
WORDS = {
    400: "Bad request",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    413: "Payload too large",
    414: "URL too long",
    415: "Unsupported media type",
    422: "Invalid request",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal server error",
    503: "Service unavailable",
}
MOST_FIELDS = 20  # named in one answer
SERVER_FAULT = "Something went wrong on our side. The request id names this in the logs."


class InvalidField(BaseModel):
    """One wrong field."""

    type: str
    field: str
    description: str


class Problem(BaseModel):
    """Every error. `code` is stable; `request_id` is also in the header X-Request-Id and in the logs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    invalid_fields: list[InvalidField] | None = None


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors; 429, 500 and 503 are always
    possible."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {
        code: {"description": WORDS[code], "content": content} for code in sorted({*codes, 429, 500, 503})
    }


def status_of(error: LovageError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def problem_body(
    status: int,
    code: str,
    title: str,
    detail: str,
    request_id: str | None = None,
    fields: tuple[FieldError, ...] = (),
    scope: Scope | None = None,
) -> bytes:
    """The JSON of a problem. Lone surrogates in names that were sent are replaced: JSON cannot hold them.

    At an address that OpenAI's clients call as well as Replicate's (`scope`), with the member that they read.
    """
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "detail": _clean(detail),
        "code": code,
    }
    if request_id:
        body["request_id"] = request_id
    if fields:
        body["invalid_fields"] = [
            {"type": field.type, "field": _clean(field.field), "description": _clean(field.description)}
            for field in fields
        ]
    if scope and is_shared(scope):
        field = body["invalid_fields"][0]["field"] if fields else None
        body |= openai_shape(status, _clean(detail).strip(), field)
    return orjson.dumps(body)


def encode_error(
    scope: Scope | None, status: int, sentence: str, request_id: str | None
) -> tuple[bytes, str]:
    """Body and media type of an error that is no LovageError, in the shape that whoever calls this address
    reads; without a scope nobody knows who that is."""
    if scope and (shape := shape_for(scope)):
        body = shape(status, ABSENT if status == 404 else sentence, None, None)
        return orjson.dumps(body), "application/json"
    title = WORDS.get(status, "Error")
    code = "internal_error" if status == 500 else title.lower().replace(" ", "_")
    return problem_body(status, code, title, sentence, request_id, scope=scope), MEDIA_TYPE


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def respond(request: Request, error: LovageError) -> Response:
    """The answer to a request that ended in this error."""
    status = status_of(error)
    fields = error.fields if isinstance(error, InvalidRequest) else ()
    detail = SERVER_FAULT if status == 500 else error.detail
    if shape := shape_for(request.scope):
        field = _clean(fields[0].field) if fields else None
        shaped = orjson.dumps(shape(status, _clean(detail).strip(), field, None))
        return Response(shaped, status, error_headers(error), "application/json")
    scope = request.scope
    body = problem_body(status, error.code, error.title, detail, request_id_of(request), fields, scope)
    return Response(body, status, error_headers(error), MEDIA_TYPE)


def error_headers(error: LovageError) -> dict[str, str]:
    """Headers that go with an error, whatever shape its body has."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="lovage"'
    if error.retry_after is not None:
        seconds = max(1, math.ceil(error.retry_after))  # whole ones: one client reads no others
        headers["Retry-After"] = str(seconds)
    return headers


def request_id_of(request: Request) -> str | None:
    """The id that the middleware gave the request."""
    request_id = request.scope.get("request_id")
    return str(request_id) if request_id else None


async def _on_lovage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LovageError)
    return respond(request, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """FastAPI's own answer has a list for `detail` and repeats the input (NaN in it ends as a 500)."""
    assert isinstance(error, RequestValidationError)
    return respond(request, invalid_request(error.errors()))


def invalid_request(errors: Any) -> InvalidRequest:
    """pydantic's errors as ours: which field, what kind, a sentence; never the value."""
    return wrong_fields(tuple(_field(error) for error in list(errors)[:MOST_FIELDS]))


def _field(error: dict[str, Any]) -> FieldError:
    parts = [str(part) for part in error["loc"]]
    if parts and parts[0] in ("body", "query", "path", "header"):
        parts = parts[1:] or parts
    if error["type"] == "extra_forbidden":
        name = ".".join(parts)[:200]
        return FieldError(name, "additional_property_not_allowed", "additional property is not allowed")
    return FieldError(".".join(parts)[:200], str(error["type"]), str(error["msg"]))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = allowed_methods(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    sentence = _sentence(request, error)
    body, kind = encode_error(request.scope, error.status_code, sentence, request_id_of(request))
    return Response(body, error.status_code, headers, kind)


def _sentence(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address."
    if error.status_code == 405:
        return f"{request.method} is not allowed here."
    return str(error.detail)


async def _on_fault(request: Request, error: Exception) -> Response:
    """A bug. Starlette raises the exception again after this answer, so that the server logs it."""
    body, kind = encode_error(request.scope, 500, SERVER_FAULT, request_id_of(request))
    headers = {"X-Request-Id": request_id_of(request) or ""}
    return Response(body, 500, headers, kind)


def install(app: FastAPI) -> None:
    """Makes these the answers of the whole application."""
    app.add_exception_handler(LovageError, _on_lovage_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_fault)
