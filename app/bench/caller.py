"""One prediction as a caller makes it: `Prefer: wait` and, where that runs out, polling; or the stream of its
output.

Knows the prediction API. Does not know how many callers there are.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from app.bench.connection import Connection, Lost, Target
from app.domain.predictions import TERMINAL

LONGEST_WAIT = 60  # the API's own bound of `Prefer: wait`
POLL_SECONDS = 0.25
LOST_SECONDS = 0.25  # a platform that is away refuses connections in no time, and a loop would spin
LONGEST_REASON = 120


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of one prediction. `seconds` from the moment when it was due; `error` is empty for a
    success."""

    seconds: float
    error: str = ""
    first: float | None = None  # seconds to the first piece of a stream
    pieces: int = 0
    batch_size: float | None = None
    padding: float | None = None


class Refused(Exception):
    """The platform answered with an error, or the prediction failed."""


class Caller:
    """One connection. `stream`: read the output's pieces as they come."""

    def __init__(self, target: Target, *, timeout: float, stream: bool) -> None:
        self._target, self._timeout = target, timeout
        self._stream = stream
        self.connection = Connection(target)
        self._prediction_id = ""

    def request(self, version: str, values: dict[str, Any]) -> bytes:
        """The prepared bytes of a prediction with these input values; they may be sent any number of
        times."""
        body = {"version": version, "input": values}
        wait = "" if self._stream else f", wait={max(1, min(LONGEST_WAIT, int(self._timeout)))}"
        return self._target.request("POST", "/v1/predictions", body, Prefer=f"handling=strict{wait}")

    async def predict(self, request: bytes, due: float | None = None) -> Sample:
        """Sends it and sees it through. `due` (`time.perf_counter`) is when it should have been sent; None:
        now."""
        due = time.perf_counter() if due is None else due
        self._prediction_id = ""
        try:
            async with asyncio.timeout(self._timeout):
                return await (self._follow(request, due) if self._stream else self._wait(request, due))
        except TimeoutError:
            await self._cancel()
            return Sample(time.perf_counter() - due, f"no result within {self._timeout:g} s")
        except Refused as error:
            return Sample(time.perf_counter() - due, str(error)[:LONGEST_REASON])
        except Lost as error:
            lost = Sample(time.perf_counter() - due, str(error)[:LONGEST_REASON])
            await asyncio.sleep(LOST_SECONDS)
            return lost

    async def _call(self, request: bytes) -> Any:
        status, body = await self.connection.send(request)
        return parsed(status, body)

    async def _create(self, request: bytes) -> Any:
        prediction = await self._call(request)
        self._prediction_id = prediction["id"]
        return prediction

    async def _wait(self, request: bytes, due: float) -> Sample:
        prediction = await self._create(request)
        while prediction["status"] not in TERMINAL:
            await asyncio.sleep(POLL_SECONDS)
            poll = self._target.request("GET", f"/v1/predictions/{self._prediction_id}")
            prediction = await self._call(poll)
        seconds = time.perf_counter() - due
        if prediction["status"] != "succeeded":
            raise Refused(f"{prediction['status']}: {prediction.get('error') or ''}")
        metrics = prediction["metrics"]
        return Sample(seconds, batch_size=metrics.get("batch_size"), padding=metrics.get("padding"))

    async def _follow(self, request: bytes, due: float) -> Sample:
        prediction = await self._create(request)
        if "stream" not in prediction["urls"]:
            raise Refused("this model does not stream; leave `stream` out of the experiment")
        path = urlsplit(prediction["urls"]["stream"]).path
        first, pieces = None, 0
        reason = "the stream ended without an end"
        async with aclosing(
            self._events(self._target.request("GET", path, Accept="text/event-stream"))
        ) as events:
            async for event, data in events:
                if event == "output":
                    first = time.perf_counter() - due if first is None else first
                    pieces += 1
                elif event == "error":
                    reason = f"failed: {orjson.loads(data).get('detail', '')}"
                elif event == "done":
                    ended = orjson.loads(data or "{}").get("reason", "")
                    reason = reason if ended == "error" else ended
        if reason:
            raise Refused(reason)
        return Sample(time.perf_counter() - due, first=first, pieces=pieces)

    async def _events(self, request: bytes) -> AsyncGenerator[tuple[str, str], None]:
        """Server-sent events: (name, data)."""
        rest = b""
        async with aclosing(self.connection.parts(request)) as parts:
            async for status, part in parts:
                if status >= 400:
                    parsed(status, part)
                *blocks, rest = (rest + part).split(b"\n\n")
                for event in map(parsed_event, blocks):
                    if event:
                        yield event

    async def _cancel(self) -> None:
        """A prediction that took too long must not go on running beside the next ones."""
        self.connection.close()
        if not self._prediction_id:
            return
        try:
            async with asyncio.timeout(5):
                await self.connection.send(
                    self._target.request("POST", f"/v1/predictions/{self._prediction_id}/cancel")
                )
        except (TimeoutError, Lost):
            self.connection.close()


def parsed_event(block: bytes) -> tuple[str, str] | None:
    """(name, data) of one server-sent event; None for a comment."""
    lines = [line.partition(": ")[::2] for line in block.decode().split("\n")]
    name = next((value for key, value in lines if key == "event"), None)
    return None if name is None else (name, "\n".join(value for key, value in lines if key == "data"))


def parsed(status: int, body: bytes) -> Any:
    """An answer's JSON. Raises Refused with the server's sentence."""
    try:
        value = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        value = {}
    if status >= 400 or not isinstance(value, dict) or not value:
        detail = value.get("detail", "") if isinstance(value, dict) else ""
        raise Refused(f"{status} {str(detail).strip()}".strip())
    return value
