"""What all of these routes do: find the model, make predictions, follow them to their end, cancel them when
the caller leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.deps import Services, caller_of, services_of
from app.api.openai.errors import NoModel, RunFailed, error_body, failure_of, refused
from app.domain.errors import InvalidRequest, LovageError, NotFound
from app.domain.predictions import Prediction, Status
from app.domain.versions import RunnableVersion
from app.services.catalogue.runnable import parse_reference
from app.services.people.access import Principal
from app.services.predictions.follow import StreamEvent
from app.services.predictions.submit import Submission

Answer = TypeVar("Answer")
SOURCE = "openai"
QUEUED_AT_MOST = 64  # events of one stream that are read ahead of a slow caller
SILENT_SECONDS = (
    10.0  # then a comment is sent: a queue or a model that loads may take longer than a proxy waits
)
SILENCE = StreamEvent("", "silence", "")
CLIENT_GONE = 499  # what proxies write for a caller that left; nobody reads it


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller may run `version`."""

    services: Services
    caller: Principal
    version: RunnableVersion

    def inputs(self) -> dict[str, Any]:
        """The model's own input properties, by name."""
        found: dict[str, Any] = self.version.input_schema.get("properties", {})
        return found

    async def predict(self, inputs: Sequence[dict[str, Any]]) -> list[Prediction]:
        """One prediction for each input."""
        asked = [
            Submission(user_id=self.caller.user_id, version=self.version, input=one, source=SOURCE)
            for one in inputs
        ]
        made = await asyncio.gather(
            *(self.services.submitter.submit(one) for one in asked), return_exceptions=True
        )
        if refused := next((one for one in made if isinstance(one, BaseException)), None):
            self.cancel([one for one in made if isinstance(one, Prediction)])  # all of a request or nothing
            raise refused
        return [one for one in made if isinstance(one, Prediction)]

    def cancel(self, predictions: Sequence[Prediction]) -> None:
        """Returns at once; those that have ended stay as they are."""
        self.services.disconnects.cancel_abandoned([prediction.id for prediction in predictions])


async def call(request: Request, model: str) -> Call:
    """Who calls and what is to run. Raises Unauthenticated, Forbidden, NoModel."""
    services, caller = services_of(request), await caller_of(request)
    caller.need("predict")
    try:
        version = await services.runnables.get(caller, parse_reference(model))
    except (NotFound, InvalidRequest):
        raise NoModel(f"The model `{model[:200]}` does not exist or you do not have access to it.") from None
    return Call(services, caller, version)


def needs(made: Call, *names: str) -> None:
    """Raises InvalidRequest unless the model takes one of these inputs."""
    if not any(name in made.inputs() for name in names):
        raise refused("model", f"{made.version.model} cannot be used here: it takes no `{names[0]}`")


async def ended(request: Request, made: Call, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions when all have succeeded. Raises RunFailed; cancels them when the caller leaves."""
    try:
        found = await _unless_left(request, asyncio.ensure_future(_to_their_ends(made, predictions)))
    except BaseException:  # the predictions are canceled, then it is raised on
        made.cancel(predictions)
        raise
    if failed := next((one for one in found if one.status is not Status.SUCCEEDED), None):
        made.cancel(predictions)
        raise failure_of(failed)
    return found


async def _to_their_ends(made: Call, predictions: Sequence[Prediction]) -> list[Prediction]:
    """In a task of its own: a gather that is cancelled from outside complains that nobody took its
    exception."""
    return await asyncio.gather(*(made.services.follower.end_of(one) for one in predictions))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _unless_left(request: Request, work: "asyncio.Future[Answer]") -> Answer:
    """What the work answers. Raises RunFailed when the caller leaves before; what is not done then is
    cancelled."""
    gone: asyncio.Future[None] = asyncio.ensure_future(_left(request))
    either: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise RunFailed(CLIENT_GONE, "The caller left.", None)
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


Lines = Callable[[int, StreamEvent], AsyncIterator[dict[str, Any]]]


class LeavableStream(StreamingResponse):
    """A stream that calls `left` when it ends before its own end, however the server ends it."""

    media_type = "text/event-stream"

    def __init__(self, body: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        super().__init__(body, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._left = left
        self.whole = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self.whole:
                self._left()


async def streamed(
    request: Request,
    made: Call,
    predictions: Sequence[Prediction],
    first: Sequence[dict[str, Any]],
    lines: Lines,
    last: Any,
) -> Response:
    """Server-sent events: `first`, what `lines` makes of each event, `last()`, then [DONE].

    Answers when the first event is there, or after SILENT_SECONDS without one, so that a failure before it is
    an HTTP error. A caller that leaves, before or after, takes its predictions along.
    """
    events = _merged(made, predictions)
    try:
        began = await _first(request, events)
        if began[1].event == "error":
            raise failure_of(await made.services.follower.get(predictions[began[0]].id))
    except BaseException:  # the predictions are canceled, then it is raised on
        made.cancel(predictions)
        await events.aclose()
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            for one in first:
                yield data(one)
            async for line in _told(made, predictions, began, events, lines):
                yield data(line) if line else b": waiting\n\n"
            for one in await last():
                yield data(one)
            yield b"data: [DONE]\n\n"
            answer.whole = True
        except RunFailed as failure:
            yield data(failure.body)
        except LovageError as error:  # a part is down: the client is told rather than cut off
            yield data(error_body(error))
        finally:
            await events.aclose()

    answer = LeavableStream(body(), lambda: made.cancel(predictions))
    return answer


async def _first(request: Request, events: Any) -> tuple[int, StreamEvent]:
    """The first event. Raises RunFailed when the caller leaves before it."""
    upcoming: asyncio.Future[tuple[int, StreamEvent]] = asyncio.ensure_future(anext(events))
    try:
        return await _unless_left(request, upcoming)
    finally:
        with contextlib.suppress(BaseException):
            await upcoming  # the events may be closed once nobody asks for the next


async def _told(
    made: Call, predictions: Sequence[Prediction], began: tuple[int, StreamEvent], events: Any, lines: Lines
) -> AsyncIterator[dict[str, Any] | None]:
    """What is to be sent; None for a comment."""
    async for index, event in _after(began, events):
        if event is SILENCE:
            yield None
            continue
        if event.event == "error":
            raise failure_of(await made.services.follower.get(predictions[index].id))
        async for line in lines(index, event):
            yield line


async def _after(began: tuple[int, StreamEvent], events: Any) -> AsyncIterator[tuple[int, StreamEvent]]:
    yield began
    async for one in events:
        yield one


def data(body: dict[str, Any]) -> bytes:
    """One event on the wire."""
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def _merged(made: Call, predictions: Sequence[Prediction]) -> Any:
    """(number of the prediction, event) as they come, SILENCE when none does for long, until each has said
    `done`.

    Raises what ended a reader before that.
    """
    queue: asyncio.Queue[tuple[int, StreamEvent | Exception | None]] = asyncio.Queue(QUEUED_AT_MOST)

    async def read(index: int, prediction: Prediction) -> None:
        try:
            async with contextlib.aclosing(made.services.follower.stream(prediction.id)) as events:  # type: ignore[type-var]
                async for event in events:
                    await queue.put((index, event))
            await queue.put((index, None))
        except Exception as error:  # noqa: BLE001 - passed on to who reads the queue, which raises it
            await queue.put((index, error))

    tasks = [asyncio.ensure_future(read(index, one)) for index, one in enumerate(predictions)]
    try:
        left = len(tasks)
        while left:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    index, event = await queue.get()
            except TimeoutError:
                yield 0, SILENCE
                continue
            if isinstance(event, Exception):
                raise event
            if event is None:
                left -= 1
            else:
                yield index, event
    finally:  # nothing is awaited: the caller may be gone, and every millisecond is a step of the model
        for task in tasks:
            task.cancel()
