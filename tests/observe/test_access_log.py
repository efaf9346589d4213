"""The access log: one line for each request, in the form of the other logs."""

import json
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.api.access_log import PREDICTIONS, AccessLines
from app.api.answered import AnsweredRequests
from app.observe.access_log import AccessLog


class Broken(RuntimeError):
    """A bug in a route."""


async def answer(request: Request) -> PlainTextResponse:
    if "broken" in request.query_params:
        raise Broken
    request.scope["request_id"] = "r1"
    request.scope[PREDICTIONS] = ("p1", "p2")
    request.scope["route"] = request.app.routes[0]
    return PlainTextResponse("", 201)


def lines_of(log_format: str, *paths: str) -> list[str]:
    """What is written of requests for these."""
    written: list[str] = []
    access_log = AccessLog(log_format, written.append)
    app = Starlette(routes=[Route("/v1/{token}", answer), Route("/health", answer)])

    async def ask() -> None:
        transport = httpx.ASGITransport(
            AnsweredRequests(app, [AccessLines(access_log).add]), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for path in paths:
                await client.get(path)

    access_log.start()
    anyio.run(ask)
    access_log.close()
    return "".join(written).splitlines()


def test_a_line_says_what_was_asked_and_answered_and_by_its_route_alone() -> None:
    [line] = lines_of("json", "/v1/secret-token?key=secret")
    fields: dict[str, Any] = json.loads(line)
    assert fields.pop("ms") >= 0
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "access",
        "level": "info",
        "method": "GET",
        "route": "/v1/{token}",
        "status": 201,
        "request_id": "r1",
        "prediction": "p1,p2",
    }


def test_probes_have_no_line_and_what_breaks_has_one() -> None:
    lines = lines_of("console", "/health", "/v1/x?broken=1", "/v1/x")
    assert [line.partition("status=")[2][:3] for line in lines] == ["500", "201"]
    assert "request_id=r1 prediction=p1,p2" in lines[1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("closed")])
def test_a_log_that_cannot_be_written_ends_nobody(error: Exception) -> None:
    def refuse(_: str) -> None:
        raise error

    access_log = AccessLog("json", refuse)
    access_log.start()
    access_log.add({"status": 200})
    access_log.close()
    assert not access_log._lines
