"""Text that is being generated when its process is killed: the stream goes on, and is the one that an
undisturbed run gives. A real model in real processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from engine_support import Submission, submit
from waiting import eventually

from app.domain.work import Chunk, Delivered, Event, Finished, ModelSpec, Restarted, Work
from app.engine.deadlines import Timeouts
from app.engine.engine import TORCH, Engine, EngineOptions
from app.runtimes.demo import SHIPPED

pytestmark = pytest.mark.quiet

WORDS = ModelSpec("words", "demo/words", "text-generation", path=str(SHIPPED / "words"))
INPUTS: list[dict[str, Any]] = [
    {"prompt": "The whale", "temperature": 0},
    {"prompt": "Alice was beginning to get very tired of", "temperature": 0},
    {"prompt": "It was", "temperature": 1.1, "seed": 3},
    {"prompt": "The captain said", "temperature": 0.9, "seed": 5, "repetition_penalty": 1.1},
]
# Four come back together after one kill, and in halves after two. Whoever dies alone after that is the cause
# of it, and fails (test_engine_crashes.py): nobody may be alone here, so all write as long as they may.
KILLS = 2
TOKENS = 400


class Reader:
    """A stream that is read as it comes."""

    def __init__(self, submission: Submission) -> None:
        self.events: list[Event] = []
        self._thread = threading.Thread(target=self._read, args=(submission,), daemon=True)
        self._thread.start()

    def _read(self, submission: Submission) -> None:
        for event in submission.events():
            self.events.append(event)

    def finish(self) -> "Reader":
        self._thread.join(60)
        return self

    @property
    def chunks(self) -> list[Chunk]:
        return [event for event in list(self.events) if isinstance(event, Chunk)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    started = Engine(EngineOptions(preload=TORCH, timeouts=Timeouts(cancel=1.0)))
    started.start()
    started.load(WORDS)
    yield started
    started.stop(0)


@pytest.fixture(scope="module")
def undisturbed(engine: Engine) -> list[Reader]:
    return [reader.finish() for reader in start(engine, "undisturbed")]


def start(engine: Engine, name: str) -> list[Reader]:
    works = [Work(f"{name}-{n}", {**given, "max_new_tokens": TOKENS}) for n, given in enumerate(INPUTS)]
    return [Reader(submit(engine, WORDS, work)) for work in works]


def test_a_stream_whose_process_is_killed_goes_on_as_if_it_had_not_been(
    engine: Engine, undisturbed: list[Reader]
) -> None:
    assert {len(reader.chunks) for reader in undisturbed} == {TOKENS}
    readers, pids = start(engine, "killed"), set()
    for kill in range(1, KILLS + 1):
        while any(len(reader.chunks) < 2 * kill for reader in readers):
            time.sleep(0.001)
        pid = eventually(
            lambda: {engine.load(WORDS).pid} - pids - {0}
        ).pop()  # not that of the one just killed
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
    assert len(pids) == KILLS
    for whole, cut in zip(undisturbed, readers, strict=True):
        assert cut.finish().chunks == whole.chunks, "the same pieces of the same tokens"
        [*_, expected], [*before, end] = whole.events, cut.events
        assert isinstance(end, Finished)
        assert isinstance(expected, Finished)
        assert end.output == expected.output
        assert not any(isinstance(event, Restarted) for event in before)


def test_another_worker_goes_on_from_what_was_delivered(engine: Engine, undisturbed: list[Reader]) -> None:
    chunks = undisturbed[0].chunks
    half = chunks[: len(chunks) // 2]
    had = Delivered([chunk.data for chunk in half], [chunk.state for chunk in half])
    work = Work("again", {**INPUTS[0], "max_new_tokens": TOKENS}, delivered=had)
    again = Reader(submit(engine, WORDS, work)).finish()
    assert again.chunks == chunks[len(half) :]
    assert again.events[-1].output == undisturbed[0].events[-1].output  # type: ignore[union-attr]
