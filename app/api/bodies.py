"""JSON bodies, checked once before anything else sees them: syntax, depth, how much they hold, and values
that no database could keep.

Also the route classes: one puts this check in front of FastAPI's own reading, whose json.loads takes NaN and
any depth; one leaves all reading to the endpoint.
"""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import orjson
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.body_gate import HOLD, LARGE, BodyGate
from app.api.deps import address_of, caller_of, limited_by_address, services_of
from app.domain.errors import InvalidRequest, wrong_field
from app.services.people.access import Principal
from app.services.people.login_tries import network_of

MAX_DEPTH = 64
# Bounds on what a body may become: orjson holds the interpreter for as long as it parses, 0.35 µs for each
# list or object, 0.9 for each member, 0.1 for each other value. A list of 2,000 texts as token ids has a
# million values.
MAX_CONTAINERS = 100_000
MAX_MEMBERS = 200_000
MAX_VALUES = 1_200_000
STEP = 65_536  # bytes counted before other threads get their turn
LONG = 19  # digits; only integers of so many can be above 2^63 - 1
LONG_NUMBER = re.compile(rb"\d{%d}" % LONG)
MAX_INTEGER = 2**63 - 1
NUL = b"\\u0000"
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
BYTE_ORDER_MARK = "The body begins with a byte order mark (BOM): send UTF-8 without one."
SIZE = "body_size"  # in a request's scope

LONGEST_NAME = 60  # of a query parameter that is named in an error

Body = bytes | bytearray


def parse_json(body: Body) -> Any:
    """The value of a JSON body. Raises InvalidRequest with a sentence.

    orjson refuses NaN, infinities, lone surrogates and invalid UTF-8. A small ordinary body costs nothing
    more: the value is walked only when its bytes hold something that could be wrong.
    """
    if len(body) > LARGE:
        _check_structure(body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if bytes(body[:3]).startswith(BYTE_ORDER_MARKS):
            raise InvalidRequest(BYTE_ORDER_MARK) from None
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    deep = body.count(b"[") + body.count(b"{") > MAX_DEPTH
    if deep or NUL in body or _has_long_number(body):
        _walk(value)
    return value


def _has_long_number(body: Body) -> bool:
    """A step at a time, so that ten million digits hold nobody up."""
    starts = range(0, len(body), STEP)
    return any(LONG_NUMBER.search(body, start, start + STEP + LONG) for start in starts)


def _check_structure(body: Body) -> None:
    """Refuses what would become millions of values. Counts all such characters first, then, if they are too
    many, those outside of strings."""
    if _is_too_much(*_count([body])):
        containers, members, values = _count(_outside_strings(body))
        if _is_too_much(containers, members, values):
            raise InvalidRequest(
                f"The body holds more than {MAX_CONTAINERS:,} lists and objects, {MAX_MEMBERS:,} members or"
                f" {MAX_VALUES:,} values: send large data as a file."
            )


def _is_too_much(containers: int, members: int, values: int) -> bool:
    return containers > MAX_CONTAINERS or members > MAX_MEMBERS or values > MAX_VALUES


def _count(pieces: Iterable[Body]) -> tuple[int, int, int]:
    """Lists and objects, members, values."""
    containers = members = values = 0
    for piece in pieces:
        containers += piece.count(b"[") + piece.count(b"{")
        members += piece.count(b":")
        values += piece.count(b",")
    return containers, members, values


def _outside_strings(body: Body) -> Iterator[bytes]:
    """What of JSON is no string, in pieces."""
    is_inside, rest = False, b""
    for start in range(0, len(body), STEP):
        piece = (rest + body[start : start + STEP]).replace(b"\\\\", b"").replace(b'\\"', b"")
        rest = b"\\" if piece.endswith(b"\\") else b""  # what it escapes is in the next piece
        parts = piece.removesuffix(b"\\").split(b'"')
        yield b"".join(parts[is_inside::2])
        is_inside ^= len(parts) % 2 == 0


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


def _see_json(request: Request, *, any_type: bool) -> None:
    """Raises a 415 as `require_json`, unless `any_type`. FastAPI reads JSON only where the header says so: it
    does then."""
    content_type = request.headers.get("content-type")
    if content_type is not None and not any_type:
        require_json(content_type)
        return
    others = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
    request.scope["headers"] = [*others, (b"content-type", b"application/json")]
    request.__dict__.pop("_headers", None)  # read from the scope again


async def read_json(request: Request, owner: str) -> Any:
    """The checked value of a request's body, which is read as `owner`'s."""
    require_json(request.headers.get("content-type"))
    return await parse_beside(services_of(request).bodies, await read_bytes(request, owner))


async def read_checked(request: Request, owner: str) -> tuple[bytes, Any]:
    """A JSON body as it came, for a library that reads it itself, and its checked value."""
    require_json(request.headers.get("content-type"))
    body = bytes(await read_bytes(request, owner))
    return body, await parse_beside(services_of(request).bodies, body)


async def read_bytes(request: Request, owner: str) -> bytearray:
    """What is large is held in the gate until `release_body`, or the end of the request."""
    gate, body = services_of(request).bodies, bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGE and HOLD not in request.scope:
            request.scope[HOLD] = await gate.hold(owner, _expected_size(request))
    request.scope[SIZE] = len(body)
    return body


async def parse_beside(gate: BodyGate, body: Body) -> Any:
    """The same as `parse_json`, beside the event loop when it could take long."""
    return parse_json(body) if len(body) <= LARGE else await gate.run(parse_json, body)


def _expected_size(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else services_of(request).options.max_body_bytes


def release_body(request: Request) -> None:
    """What came of the body is written down: others may send theirs. For routes that go on to wait."""
    if hold := request.scope.pop(HOLD, None):
        hold.release()


def body_size(request: Request) -> int:
    """Bytes of the body that was read."""
    return int(request.scope.get(SIZE, 0))


class _CheckedRequest(Request):
    """A request whose JSON has been read and checked already."""

    checked: Any = None

    async def body(self) -> bytes:
        """For FastAPI, which looks whether there was one. The bytes themselves are gone."""
        return b"checked" if body_size(self) else b""

    async def json(self) -> Any:
        return self.checked


class DirectRoute(APIRoute):
    """For the busiest routes, whose endpoints take the request and the path's parameters and return a
    Response: FastAPI documents them, and does not resolve dependencies on every call."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint, known = self.endpoint, query_names(self)

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                refuse_unknown(request, known)
            return await endpoint(request, **request.path_params)  # type: ignore[no-any-return]

        return handle


class CheckedRoute(APIRoute):
    """Refuses query parameters that it does not know, unless it `takes_any_query`. Where a body is declared
    as a pydantic model or a form, who calls is counted, and known where that is asked for, before a byte of
    it is read."""

    takes_any_query = False
    takes_any_type = False  # what the body is is not asked: it must be JSON

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = self._with_body()
        if self.takes_any_query:
            return inner
        known = query_names(self)

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                refuse_unknown(request, known)
            return await inner(request)

        return handle

    def _with_body(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        if self.body_field is None:
            return inner
        is_form = isinstance(self.body_field.field_info, Form)
        is_public = (self.openapi_extra or {}).get("security") == []

        async def handle(request: Request) -> Response:
            owner = await _admit(request, is_public)
            if is_form:
                return await inner(request)
            checked = _CheckedRequest(request.scope, request.receive)
            if body := await read_bytes(checked, owner):
                _see_json(checked, any_type=self.takes_any_type)
                checked.checked = await parse_beside(services_of(request).bodies, body)
            return await inner(checked)

        return handle


def query_names(route: APIRoute) -> tuple[str, ...]:
    """The query parameters that a route knows, its dependencies' included."""

    def names_of(dependant: Dependant) -> set[str]:
        below = (names_of(each) for each in dependant.dependencies)
        return {field.alias for field in dependant.query_params}.union(*below)

    return tuple(sorted(names_of(route.dependant)))


def refuse_unknown(request: Request, known: Sequence[str]) -> None:
    """Raises InvalidRequest naming the first query parameter that nothing here would read."""
    for name in request.query_params:
        if name not in known:
            shown = name if name.isprintable() and len(name) <= LONGEST_NAME else "query"
            near = get_close_matches(name[:LONGEST_NAME], known, 1)
            which = f"did you mean {near[0]}" if near else f"there are {', '.join(known) or 'none here'}"
            raise wrong_field(shown, f"is not a query parameter of this address; {which}", "extra_forbidden")


async def _admit(request: Request, is_public: bool) -> str:
    """Whose call it is: a user's id, or an address. Raises Unauthenticated, TooMany."""
    if is_public:
        limited_by_address(request)
        return network_of(address_of(request))
    return owner_of(request, await caller_of(request))


def owner_of(request: Request, caller: Principal) -> str:
    """Whose a body is: the caller's; all anonymous ones of one network are one."""
    return str(caller.user_id) if caller.user_id else network_of(address_of(request))
