"""JSON bodies, checked once before anything else sees them: syntax, depth, and values that no database could
keep.

Also the route classes: one puts this check in front of FastAPI's own reading, whose json.loads takes NaN and
any depth; one leaves all reading to the endpoint.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.domain.errors import InvalidRequest

MAX_DEPTH = 64
LONG_NUMBER = re.compile(rb"\d{19}")  # only integers this long can be above 2^63 - 1
MAX_INTEGER = 2**63 - 1
NUL = b"\\u0000"


def parse_json(body: bytes) -> Any:
    """The value of a JSON body. Raises InvalidRequest with a sentence.

    orjson refuses NaN, infinities, lone surrogates and invalid UTF-8. A small ordinary body costs nothing
    more: the value is walked only when its bytes hold something that could be wrong.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if deep or NUL in body or LONG_NUMBER.search(body):
        _walk(value)
    return value


def _walk(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below.extend(item)
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif kind is str and "\x00" in item:
                raise InvalidRequest("The body holds the NUL character, which no text may contain.")
            elif kind is int and not -MAX_INTEGER - 1 <= item <= MAX_INTEGER:
                raise InvalidRequest("The body holds an integer that does not fit in 64 bits.")
        level, depth = below, depth + 1


def require_json(content_type: str | None) -> None:
    """Raises a 415 unless the content type is JSON. Without one, JSON is assumed."""
    if content_type is None:
        return
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "Send JSON with the header 'Content-Type: application/json'.")


async def read_json(request: Request) -> Any:
    """The checked value of a request's body."""
    require_json(request.headers.get("content-type"))
    return parse_json(await request.body())


class _CheckedRequest(Request):
    """A request whose JSON has been read and checked already."""

    checked: Any = None

    async def json(self) -> Any:
        return self.checked


class DirectRoute(APIRoute):
    """For the busiest routes, whose endpoints take the request and the path's parameters and return a
    Response: FastAPI documents them, and does not resolve dependencies on every call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            return await endpoint(request, **request.path_params)  # type: ignore[no-any-return]

        return handle


class CheckedRoute(APIRoute):
    """For routes with a JSON body declared as a pydantic model."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        if self.body_field is None or isinstance(self.body_field.field_info, Form):
            return inner

        async def handle(request: Request) -> Response:
            checked = _CheckedRequest(request.scope, request.receive)
            if await checked.body():
                checked.checked = await read_json(checked)
            return await inner(checked)

        return handle
