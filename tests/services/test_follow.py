"""Reading, waiting, paging and streaming, with Redis and without."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from moving import accepted, claim, claimed, ending, living_worker
from waiting import eventually

from app.composition_core import Core
from app.domain.errors import Gone, NotFound
from app.domain.predictions import Prediction, Status
from app.domain.work import Delivered
from app.events import channels
from app.events.channels import ChunkFrame
from app.events.chunk_subscription import QUEUE_LIMIT, ChunkSubscription
from app.events.reader import EventReader
from app.events.takeover import StreamTakeover
from app.services.predictions.attempts import HandBack, ProgressUpdate
from app.services.predictions.follow import Follower
from app.services.predictions.lifecycle import FEW
from app.services.predictions.stream_tail import StreamEvent, parse_event_id
from app.settings import Settings


@pytest.fixture
async def follower(core: Core, settings: Settings) -> AsyncIterator[Follower]:
    reader = EventReader(settings.redis_url)
    reader.start()
    with ThreadPoolExecutor(4) as threads:
        made = Follower(core.database, reader, core.answers.stored, threads, core.view)
        while not reader.healthy:
            await asyncio.sleep(0.01)
        yield made
        await made.close()
        await reader.close()


@pytest.fixture
async def unresponsive(core: Core) -> AsyncIterator[Follower]:
    """A follower whose Redis is not there."""
    reader = EventReader("redis://127.0.0.1:1/0")
    reader.start()
    with ThreadPoolExecutor(4) as threads:
        made = Follower(core.database, reader, core.answers.stored, threads, core.view)
        yield made
        await reader.close()


def later(seconds: float, act) -> None:
    threading.Timer(seconds, act).start()


async def test_what_is_not_there_or_no_id_is_not_found(follower: Follower) -> None:
    for name in ("0" * 26, "nonsense", "../x", ""):
        with pytest.raises(NotFound):
            await follower.get(name)


async def test_many_readers_at_once_all_get_their_own(core: Core, follower: Follower) -> None:
    made = [accepted(core) for _ in range(20)]
    found = await asyncio.gather(*(follower.get(one.id) for one in made * 5))
    assert [one.id for one in found] == [one.id for one in made * 5]


@pytest.mark.alone
async def test_a_wait_ends_when_the_prediction_does(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    later(0.3, lambda: core.lifecycle.finish([ending(running, output="x")]))
    began = time.monotonic()
    assert (await follower.wait(running.id, 10)).output == "x"
    assert time.monotonic() - began < 1.5


async def test_who_waits_gets_the_end_as_its_row_says_it(core: Core, follower: Follower, monkeypatch) -> None:
    waiting = accepted(core, input={"text": "in"})
    [running] = claim(core, living_worker(core), waiting.id)
    told = {
        "output": {"vector": [0.1, -2e-9], "é": None},
        "logs": "line\n",
        "metrics": {"run": 0.25},
        "progress": {"percent": 100},
    }
    later(0.3, lambda: core.lifecycle.finish([ending(running, **told)]))
    with monkeypatch.context() as patched:
        patched.setattr(follower, "_get", None)  # it has no need to look
        found = await follower.wait(waiting.id, 10, waiting)
    assert (found.input, found.output, found.status) == ({"text": "in"}, told["output"], Status.SUCCEEDED)
    assert found == await follower.get(waiting.id)


async def test_what_was_canceled_while_it_ran_is_shown_so(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    core.lifecycle.cancel([running.id], "enough")
    later(0.3, lambda: core.lifecycle.finish([ending(running)]))
    found = await follower.wait(running.id, 10, running)
    assert (found.status, found.error) == (Status.CANCELED, "enough")
    assert found == await follower.get(running.id)


@pytest.mark.parametrize(("count", "output"), [(1, "x" * channels.LONGEST_ENDING), (FEW + 1, "short")])
async def test_a_long_end_and_many_at_once_are_read_from_their_rows(
    core: Core, follower: Follower, count: int, output: str
) -> None:
    worker = living_worker(core)
    running = [claimed(core, worker) for _ in range(count)]
    later(0.3, lambda: core.lifecycle.finish([ending(one, output=output) for one in running]))
    found = await asyncio.gather(*(follower.wait(one.id, 10, one) for one in running))
    assert [one.output for one in found] == [output] * count
    assert found == await asyncio.gather(*(follower.get(one.id) for one in running))


async def test_an_event_that_nobody_understands_silences_no_other(
    core: Core, follower: Follower, monkeypatch
) -> None:
    running = claimed(core, living_worker(core))
    core.events.ended({object(): None}, [])  # type: ignore[dict-item]
    core.redis.publish(channels.ENDED, b"\xff")
    later(0.3, lambda: core.lifecycle.finish([ending(running, output="x")]))
    with monkeypatch.context() as patched:
        patched.setattr(follower, "_get", None)  # the event says it: there is no need to look
        assert (await follower.wait(running.id, 10, running)).output == "x"


async def test_a_wait_that_runs_out_answers_as_it_is(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    assert (await follower.wait(running.id, 0.2)).status is Status.PROCESSING


async def test_a_wait_needs_no_redis(core: Core, unresponsive: Follower) -> None:
    running = claimed(core, living_worker(core))
    later(0.2, lambda: core.lifecycle.finish([ending(running, output="x")]))
    assert (await unresponsive.wait(running.id, 10)).output == "x"


async def collect(follower: Follower, prediction: Prediction, after: str | None = None) -> list[StreamEvent]:
    return [event async for event in follower.stream(prediction.id, after)]


def publish(core: Core, running: Prediction, number: int, text: str) -> None:
    core.events.chunk(running.id, ChunkFrame(running.attempt, number, text))


async def test_live_chunks_come_in_order_and_then_the_end(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    for number in range(5):
        later(0.1 + 0.05 * number, lambda n=number: publish(core, running, n, f"c{n}"))
    later(0.6, lambda: core.lifecycle.finish([ending(running, output=[f"c{n}" for n in range(5)])]))
    events = await collect(follower, running)
    assert [event.data for event in events if event.event == "output"] == [f"c{n}" for n in range(5)]
    assert (events[-1].event, events[-1].data) == ("done", "{}")
    assert len({event.id for event in events}) == 6


async def test_a_late_reader_gets_everything_and_a_resuming_one_the_rest(
    core: Core, follower: Follower
) -> None:
    running = claimed(core, living_worker(core))
    core.lifecycle.finish([ending(running, output=["a", "b", "c"])])
    everything = await collect(follower, running)
    assert [event.data for event in everything] == ["a", "b", "c", "{}"]
    assert await collect(follower, running, everything[1].id) == everything[2:]


async def test_the_chunks_of_an_object_are_the_pieces_that_were_streamed(
    core: Core, follower: Follower
) -> None:
    running = claimed(core, living_worker(core), stream=True)
    publish(core, running, 0, "a")
    core.lifecycle.finish([ending(running, output={"text": "ab", "chunks": ["a", "b"]})])
    everything = await collect(follower, running)
    assert [event.data for event in everything] == ["a", "b", "{}"]
    assert await collect(follower, running, everything[0].id) == everything[1:]


async def test_chunks_that_redis_lost_are_filled_in_from_the_row(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    assert running.worker
    publish(core, running, 0, "a")
    kept = core.redis
    eventually(lambda: kept.xlen(channels.kept(running.id)))
    kept.delete(channels.kept(running.id))
    core.lifecycle.save_progress([ProgressUpdate(running.id, running.attempt, running.worker, ["a", "b"])])
    later(0.3, lambda: publish(core, running, 3, "d"))  # a gap: 2 never came
    later(0.6, lambda: core.lifecycle.finish([ending(running, output=["a", "b", "c", "d"])]))
    assert [event.data for event in await collect(follower, running)] == ["a", "b", "c", "d", "{}"]


async def test_a_stream_needs_no_redis(core: Core, unresponsive: Follower) -> None:
    running = claimed(core, living_worker(core))
    later(0.2, lambda: core.lifecycle.finish([ending(running, output=["a", "b"])]))
    assert [event.data for event in await collect(unresponsive, running)] == ["a", "b", "{}"]


async def test_a_reader_that_stops_reading_holds_little_and_still_misses_nothing(
    core: Core, follower: Follower
) -> None:
    running = claimed(core, living_worker(core))
    publish(core, running, 0, "c0")
    events = follower.stream(running.id)
    got = [(await anext(events)).data]
    for number in range(1, 2 * QUEUE_LIMIT + 500):
        publish(core, running, number, f"c{number}")
    kept = core.redis
    while kept.xlen(channels.kept(running.id)) < 2 * QUEUE_LIMIT + 500:
        await asyncio.sleep(0.01)
    core.lifecycle.finish([ending(running, output=[f"c{n}" for n in range(2 * QUEUE_LIMIT + 500)])])
    got += [event.data async for event in events]
    assert got == [*(f"c{n}" for n in range(2 * QUEUE_LIMIT + 500)), "{}"]


async def test_a_full_subscription_is_emptied_and_says_look_again() -> None:
    subscription = ChunkSubscription()
    for number in range(QUEUE_LIMIT):
        subscription.put(ChunkFrame(1, number, "x"))
    assert (len((await subscription.read(0))[0]), await subscription.read(0)) == (QUEUE_LIMIT, ([], False))
    for number in range(QUEUE_LIMIT + 1):
        subscription.put(ChunkFrame(1, number, "x"))
    assert await subscription.read(0) == ([], True)


async def test_failures_and_cancels_say_so(core: Core, follower: Follower) -> None:
    failed, canceled = claimed(core, living_worker(core)), accepted(core)
    core.lifecycle.finish([ending(failed, Status.FAILED, error="no luck")])
    core.lifecycle.cancel([canceled.id])
    assert [(event.event, event.data) for event in await collect(follower, failed)] == [
        ("error", '{"detail": "no luck"}'),
        ("done", '{"reason": "error"}'),
    ]
    assert [(event.event, event.data) for event in await collect(follower, canceled)] == [
        ("done", '{"reason": "canceled"}')
    ]


def test_event_ids_of_others_start_from_the_beginning() -> None:
    texts = (None, "", "x", "1:2", "1:x", "9" * 40, "1.x:2", "1.7:2", "1.7:")
    assert [parse_event_id(text) for text in texts] == [(0, 0)] * 3 + [(0, 3)] + [(0, 0)] * 3 + [
        (7, 3),
        (7, 0),
    ]


def outputs(events: list[StreamEvent]) -> list[str]:
    """The data of output events, and the names of the others."""
    return [event.data if event.event == "output" else event.event for event in events]


async def test_that_an_output_begins_anew_is_said_live_and_to_who_resumes(
    core: Core, follower: Follower
) -> None:
    running = claimed(core, living_worker(core))
    publish(core, running, 0, "old")
    events = follower.stream(running.id)
    first = await anext(events)
    core.events.chunk(running.id, ChunkFrame(running.attempt, 0, "new", 1_001))
    core.events.chunk(running.id, ChunkFrame(running.attempt, 1, "er", 1_001))
    assert outputs([first, *[await anext(events) for _ in range(3)]]) == ["old", "restart", "new", "er"]
    core.lifecycle.finish([ending(running, output=["new", "er"], generation=1_001)])
    assert outputs([event async for event in events]) == ["done"]
    assert outputs(await collect(follower, running)) == ["new", "er", "done"]
    resumed = await collect(follower, running, first.id)
    assert outputs(resumed) == ["restart", "new", "er", "done"]
    assert outputs(await collect(follower, running, resumed[0].id)) == ["new", "er", "done"]
    assert outputs(await collect(follower, running, resumed[1].id)) == ["er", "done"]


async def test_without_redis_the_row_tells_that_the_output_began_anew(
    core: Core, unresponsive: Follower
) -> None:
    running = claimed(core, living_worker(core))
    assert running.worker
    core.lifecycle.save_progress([ProgressUpdate(running.id, running.attempt, running.worker, ["a", "b"])])
    events = unresponsive.stream(running.id)
    assert outputs([await anext(events), await anext(events)]) == ["a", "b"]
    core.lifecycle.finish([ending(running, output=["c"], generation=1_001)])
    assert outputs([event async for event in events]) == ["restart", "c", "done"]


async def test_chunks_of_an_attempt_that_lost_the_output_are_void(core: Core, follower: Follower) -> None:
    stale = claimed(core, living_worker(core), stream=True)
    publish(core, stale, 0, "a")
    publish(core, stale, 1, "b")
    events = follower.stream(stale.id)
    assert outputs([await anext(events), await anext(events)]) == ["a", "b"]
    had, generation = StreamTakeover(core.redis).take_over(stale.id, 2, [], 0)
    assert (had.chunks, generation) == (["a", "b"], 0)
    publish(core, stale, 2, "void")
    core.events.chunk(stale.id, ChunkFrame(2, 2, "c"))
    assert outputs([await anext(events)]) == ["c"]
    assert stale.worker
    core.lifecycle.hand_back([HandBack(stale.id, 1, stale.worker)])
    [running] = claim(core, living_worker(core), stale.id)
    core.lifecycle.finish([ending(running, output=["a", "b", "c"])])
    assert outputs([event async for event in events]) == ["done"]
    assert outputs(await collect(follower, running)) == ["a", "b", "c", "done"], "also to a late reader"


async def test_an_attempt_goes_on_with_what_readers_have_had(core: Core) -> None:
    """With the states that the runtime needs, and with what only the row has."""
    running = claimed(core, living_worker(core))
    core.events.chunk(running.id, ChunkFrame(1, 0, "a"), [5])
    core.events.chunk(running.id, ChunkFrame(1, 1, "b"), [6, 7])
    eventually(lambda: core.redis.xlen(channels.kept(running.id)) == 2)
    take_over = StreamTakeover(core.redis).take_over
    assert take_over(running.id, 2, ["a"], 0) == (Delivered(["a", "b"], [[5], [6, 7]]), 0)
    core.events.chunk(running.id, ChunkFrame(2, 4, "e"), [9])
    eventually(lambda: core.redis.xlen(channels.kept(running.id)) == 4)
    had, _ = take_over(running.id, 3, ["a", "b", "c"], 0)
    assert had == Delivered(["a", "b", "c"], [[5], [6, 7], None]), "up to a gap"
    core.redis.delete(channels.kept(running.id))
    assert take_over(running.id, 4, ["x"], 3_001) == (Delivered(["x"], [None]), 3_001)


async def test_a_removed_prediction_streams_nothing(core: Core, follower: Follower) -> None:
    running = claimed(core, living_worker(core))
    publish(core, running, 0, "secret")
    core.lifecycle.finish([ending(running, output=["secret"])])
    core.removal().remove(await follower.get(running.id))
    eventually(lambda: not core.redis.exists(channels.kept(running.id)))
    with pytest.raises(Gone):
        await collect(follower, running)
