"""A reader that leaves a stream stops nothing, unless the prediction was made so that its last reader
does."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from api_hand_worker import HandWorker
from api_people import Person, Server
from model_folders import write_model
from waiting import eventually

from app.api.rest.streams import ReaderStream
from app.events.reader import EventReader


@contextmanager
def reader(url: str) -> Iterator[None]:
    """Reads the beginning of a stream; leaves it at the end of the block."""
    with httpx.Client(trust_env=False) as http, http.stream("GET", url, timeout=20) as answer:
        pieces = answer.iter_bytes()  # must be referenced: without it the connection closes
        next(pieces)
        yield


def listening(api: Server, prediction: dict[str, Any]) -> None:
    """Returns when the reader of the stream is known to Redis."""
    eventually(lambda: prediction["id"] in api.app.state.api.reader._live)


def create(person: Person, **more: Any) -> dict[str, Any]:
    body = {"version": "ada/echo", "input": {"text": "x", "chunks": 2, "seconds": 2}} | more
    answer = person.http.post("/v1/predictions", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def ended(person: Person, prediction: dict[str, Any]) -> dict[str, Any]:
    return dict(person.http.get(prediction["urls"]["get"], headers={"Prefer": "wait=30"}).json())


def becomes(person: Person, prediction: dict[str, Any], status: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        now = person.http.get(prediction["urls"]["get"]).json()
        return dict(now) if now["status"] == status else None

    return dict(eventually(reached))


@pytest.mark.parametrize("more", [{}, {"on_disconnect": "continue"}])
def test_a_reader_that_leaves_stops_nothing(ada: Person, echo: dict, worker: HandWorker, more: dict) -> None:
    prediction = create(ada, **more)
    becomes(ada, prediction, "processing")
    with reader(prediction["urls"]["stream"]):
        pass
    assert ended(ada, prediction)["status"] == "succeeded"


def test_the_last_reader_of_all_processes_stops_it_when_it_was_made_so(
    start_server: Callable[..., Server], ada: Person, echo: dict
) -> None:
    prediction = create(ada, on_disconnect="cancel")
    assert prediction["on_disconnect"] == "cancel"
    assert "on_disconnect" not in prediction["routing"]
    second = start_server()
    other = second.url + "/v1/streams/" + prediction["urls"]["stream"].rpartition("/")[2]
    with ExitStack() as readers:
        readers.enter_context(reader(other))
        listening(second, prediction)
        for _ in range(2):
            with reader(prediction["urls"]["stream"]):
                pass
        time.sleep(1.5)  # longer than it takes to see that nobody is left
        assert ada.http.get(prediction["urls"]["get"]).json()["status"] == "starting", (
            "somebody reads it elsewhere"
        )
    canceled = becomes(ada, prediction, "canceled")
    assert canceled["error"] == "Its last reader left (on_disconnect: cancel)."


def test_a_running_one_is_stopped_too(ada: Person, echo: dict, worker: HandWorker) -> None:
    prediction = create(ada, on_disconnect="cancel")
    becomes(ada, prediction, "processing")
    with reader(prediction["urls"]["stream"]):
        pass
    assert ended(ada, prediction)["status"] == "canceled"


def test_who_reads_to_the_end_stops_nothing(ada: Person, echo: dict, worker: HandWorker) -> None:
    prediction = create(ada, on_disconnect="cancel", input={"text": "x", "chunks": 2})
    assert "event: done" in httpx.get(prediction["urls"]["stream"], trust_env=False).text
    assert ended(ada, prediction)["status"] == "succeeded"


@pytest.mark.parametrize("value", ["stop", None, True])
def test_a_wrong_wish_is_refused_by_name(ada: Person, echo: dict, value: Any) -> None:
    answer = ada.http.post(
        "/v1/predictions", json={"version": "ada/echo", "input": {}, "on_disconnect": value}
    )
    assert (answer.status_code, "on_disconnect" in answer.json()["detail"]) == (422, True)


def test_a_model_that_does_not_stream_has_no_readers(ada: Person, api_settings: Any) -> None:
    folder = api_settings.model_root_folders[1] / "leaving"
    write_model(folder, {"architectures": ["BertModel"]})
    ada.model("bert", source="path:leaving", runtime="embedding")
    body = {"version": "ada/bert", "input": {"text": "x"}, "on_disconnect": "cancel"}
    answer = ada.http.post("/v1/predictions", json=body)
    assert (answer.status_code, "on_disconnect" in answer.json()["detail"]) == (422, True)


async def _nothing_comes() -> Any:
    yield b"event"
    await asyncio.Event().wait()


@pytest.mark.parametrize("by", ["reader", "server"])
async def test_a_server_that_stops_is_no_reader_that_leaves(by: str) -> None:
    left: list[bool] = []
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        return None

    answer = ReaderStream(_nothing_comes(), lambda: left.append(True))
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    task = asyncio.ensure_future(answer(scope, receive, send))
    await asyncio.sleep(0.05)
    if by == "reader":
        gone.set()
    else:
        task.cancel()
    await asyncio.wait({task})
    assert left == ([True] if by == "reader" else [])


async def test_while_redis_is_away_nothing_is_stopped() -> None:
    unresponsive = EventReader("redis://127.0.0.1:1/0")
    unresponsive.start()
    assert await unresponsive.nobody_reads("0" * 26) is False
    await unresponsive.close()


async def test_who_comes_back_in_time_still_reads(api_settings: Any) -> None:
    reader_of_events = EventReader(api_settings.redis_url)
    reader_of_events.start()
    with reader_of_events.live("0" * 26):
        assert await reader_of_events.nobody_reads("0" * 26) is False
    assert await reader_of_events.nobody_reads("0" * 26) is True
    await reader_of_events.close()
