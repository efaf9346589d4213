"""Small words for the engine's tests: versions, work, submitting, endings."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from app.domain.work import END, Event, ModelSpec, Work
from app.engine.deadlines import Timeouts
from app.engine.engine import Engine

RUNTIMES = Path(__file__).parent / "runtimes"
sys.path.append(str(RUNTIMES))  # so that tests can use them in this process, too
QUICK = Timeouts(setup=10.0, cancel=0.3, stall=1.0, evict=1.0)
Start = Callable[..., Engine]

_numbers = itertools.count(1)


class Submission:
    """A submitted item whose events are kept until somebody reads them: by one thread, once."""

    def __init__(self, engine: Engine, model: ModelSpec, job: Work) -> None:
        self.id = job.id
        self._events: SimpleQueue[Event] = SimpleQueue()
        [self._handle] = engine.submit_all(model, [(job, self._events.put)])

    def events(self) -> Iterator[Event]:
        """Blocks for each event, the ending included."""
        while True:
            event = self._events.get()
            yield event
            if isinstance(event, END):
                return

    def cancel(self) -> None:
        self._handle.cancel()


def submit(engine: Engine, model: ModelSpec, job: Work) -> Submission:
    return Submission(engine, model, job)


def spec(runtime: str = "trial", **config: Any) -> ModelSpec:
    """A version that no other test has."""
    return ModelSpec(
        version=f"version-{next(_numbers)}",
        model=f"test/{runtime}",
        runtime=runtime,
        config=config,
        development=True,
    )


def work(do: str = "", *, timeout: float = 0.0, **more: Any) -> Work:
    return Work(f"work-{next(_numbers)}", {"do": do, **more}, timeout=timeout)


def ending(submission: Submission) -> Any:
    """The last event of the stream; by its count also: the only ending."""
    return list(submission.events())[-1]


def events_of(engine: Engine, model: ModelSpec, job: Work) -> list[Event]:
    return list(submit(engine, model, job).events())
