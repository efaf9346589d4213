"""A model process killed, hung, out of memory, dying at load, dying of one input of 32: the neighbours
succeed.

With the echo runtime, and with a torch model whose memory really ends.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from engine_support import QUICK, RUNTIMES, Submission, ending, spec, submit, work

from app.domain.work import Crashed, Finished, ModelSpec
from app.engine.engine import Engine, EngineOptions

pytestmark = pytest.mark.quiet  # they hold the engine to deadlines of a second

TOGETHER = 32


@dataclass(frozen=True)
class Kind:
    """A runtime, and how its batches come to run out of memory."""

    engine: Engine
    runtime: str
    too_small: dict[str, Any]

    def model(self, **config: Any) -> ModelSpec:
        return spec(self.runtime, **config)


@pytest.fixture(params=["echo", "torch"], scope="module")
def kind(request: pytest.FixtureRequest, shared_engine: Engine) -> Iterator[Kind]:
    """Four rows fit for echo by its word; of torch's rows of 256 MiB some do, by a real limit of 2 GiB."""
    if request.param == "echo":
        yield Kind(shared_engine, "echo", {"rows": 4})
        return
    engine = Engine(
        EngineOptions(
            runtime_folders=(str(RUNTIMES),), timeouts=QUICK, preload=("torch",), process_bytes=2**31
        )
    )
    engine.start()
    yield Kind(engine, "torch-trial", {"hungry": True})
    engine.stop(0)


def together(
    kind: Kind, model: ModelSpec, number: int, each: dict[str, Any] | None = None, **last: Any
) -> list[Submission]:
    """So many items that form one batch, all with the inputs `each`, the last with some of its own; they wait
    behind one that runs."""
    blocker = submit(kind.engine, model, work(seconds=0.3))
    next(blocker.events())
    timeout = last.pop("timeout", 60.0)
    items = [work(text=f"text {n}", **(each or {})) for n in range(number - 1)]
    return [
        submit(kind.engine, model, item)
        for item in [*items, work(text="last", timeout=timeout, **(each or {}), **last)]
    ]


def alone(kind: Kind, number: int) -> list[Any]:
    """What the first of `together` answer when nothing goes wrong."""
    model = kind.model()
    return [ending(submit(kind.engine, model, work(text=f"text {n}"))).output for n in range(number - 1)]


def test_one_input_of_32_that_kills_its_process_ends_alone(kind: Kind) -> None:
    *neighbours, poison = [ending(handle) for handle in together(kind, kind.model(), TOGETHER, crash=True)]
    assert isinstance(poison, Crashed)
    assert [end.output for end in neighbours] == alone(kind, TOGETHER)


def test_one_input_of_32_that_hangs_is_ended_at_its_limit_alone(kind: Kind) -> None:
    *neighbours, hung = [
        ending(handle) for handle in together(kind, kind.model(), TOGETHER, hang=True, timeout=0.5)
    ]
    assert hung.code == "run_timeout"
    assert [end.output for end in neighbours] == alone(kind, TOGETHER)


def test_a_batch_that_runs_out_of_memory_is_halved_until_it_fits(kind: Kind) -> None:
    model = kind.model(**kind.too_small)
    ends = [ending(handle) for handle in together(kind, model, TOGETHER)]
    assert [end.output for end in ends[:-1]] == alone(kind, TOGETHER)
    sizes = {end.metrics["batch_size"] for end in ends}
    assert 1 < max(sizes) < TOGETHER / 2
    later = [ending(handle) for handle in together(kind, model, TOGETHER)]
    assert all(isinstance(end, Finished) for end in later)
    assert max(end.metrics["batch_size"] for end in later) < TOGETHER / 2


def test_a_process_killed_with_a_batch_inside_costs_its_items_nothing_but_time(kind: Kind) -> None:
    model = kind.model()
    pid = kind.engine.load(model).pid
    handles = together(kind, model, TOGETHER, {"seconds": 0.5})
    next(handles[0].events())
    os.kill(pid, signal.SIGKILL)
    ends = [ending(handle) for handle in handles]
    assert all(isinstance(end, Finished) for end in ends)
    assert [end.output for end in ends[:-1]] == alone(kind, TOGETHER)


def test_a_model_that_dies_at_load_is_said_to_be_unavailable_and_another_one_runs(kind: Kind) -> None:
    failed = ending(submit(kind.engine, kind.model(load_crash=True), work()))
    assert failed.code == "model_unavailable"
    assert "while loading, its process was ended by SIGKILL" in failed.error
    assert isinstance(ending(submit(kind.engine, kind.model(), work(text="another"))), Finished)
