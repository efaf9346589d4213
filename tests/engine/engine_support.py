"""Small words for the engine's tests: versions, works, endings, waiting."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.domain.work import Event, ModelSpec, Work
from app.engine.engine import Engine, Timeouts
from app.engine.work_items import Handle

RUNTIMES = Path(__file__).parent / "runtimes"
sys.path.append(str(RUNTIMES))  # so that tests can use them in this process, too
QUICK = Timeouts(setup=10.0, cancel=0.3, stall=1.0, evict=1.0)
Start = Callable[..., Engine]

_numbers = itertools.count(1)


def spec(runtime: str = "trial", **config: Any) -> ModelSpec:
    """A version that no other test has."""
    return ModelSpec(
        version=f"version-{next(_numbers)}", model=f"test/{runtime}", runtime=runtime, config=config
    )


def work(do: str = "", *, timeout: float = 0.0, **more: Any) -> Work:
    return Work(f"work-{next(_numbers)}", {"do": do, **more}, timeout=timeout)


def ending(handle: Handle) -> Any:
    """The last event of the handle's stream; by its count also: the only ending."""
    return list(handle.events())[-1]


def events_of(engine: Engine, model: ModelSpec, job: Work) -> list[Event]:
    return list(engine.submit(model, job).events())
