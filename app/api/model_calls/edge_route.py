"""Routes that answer errors in another platform's shape, and name in a header what of a request they
ignore."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.bodies import CheckedRoute
from app.api.error_shapes import Shape
from app.api.model_calls.failures import NoModel, code_of, names_of, sentence_of, status_for
from app.api.problems import error_headers, invalid_request
from app.domain.errors import LovageError

IGNORED = "ignored_fields"  # of a request's scope: names of its fields that change nothing here
LONGEST_IGNORED = 1_000  # characters of the header that names them


def edge_route(shape: Shape, *, any_type: bool = False) -> type[CheckedRoute]:
    """The class of routes whose errors have this shape; `any_type`: whatever a body says that it is, it is
    read as JSON."""

    class EdgeRoute(CheckedRoute):
        takes_any_query = True  # other platforms' clients send their own, such as api-version
        takes_any_type = any_type

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    return with_ignored(request, await inner(request))
                except (LovageError, RequestValidationError, HTTPException) as error:
                    return answer_error(error, shape)

            return handle

    return EdgeRoute


def answer_error(error: LovageError | RequestValidationError | HTTPException, shape: Shape) -> Response:
    """Any error that a route raises, in this shape."""
    if isinstance(error, RequestValidationError):
        error = invalid_request(_without_tags(error.errors()))
    if isinstance(error, HTTPException):
        return respond(error.status_code, shape(error.status_code, str(error.detail), None, None))
    return respond(status_for(error), error_body(error, shape), error_headers(error))


def error_body(error: LovageError, shape: Shape) -> dict[str, Any]:
    """The body of an error in this shape."""
    param = "model" if isinstance(error, NoModel) else next(iter(names_of(error)), None)
    return shape(status_for(error), sentence_of(error), param, code_of(error))


def _without_tags(errors: Any) -> list[dict[str, Any]]:
    """pydantic's errors without the tags of forms."""
    return [
        {**error, "loc": tuple(part for part in error["loc"] if not str(part).startswith("<"))}
        for error in errors
    ]


def with_ignored(request: Request, response: Response) -> Response:
    """The response, whose header names the fields of the request that were taken and change nothing."""
    if names := request.scope.get(IGNORED):
        listed = ", ".join(names)[:LONGEST_IGNORED]
        response.headers["Ignored-Fields"] = listed.encode("ascii", "replace").decode()
    return response


def respond(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    """JSON."""
    return Response(orjson.dumps(body), status, headers, "application/json")
