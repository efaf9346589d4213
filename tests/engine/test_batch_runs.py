"""The batch loop's parts by themselves: waiting for items that go away again, and what a run that failed
still holds."""

import socket
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.work import Event, Failed, Finished
from app.engine import batch_runner
from app.engine.batch_policy import Limits
from app.engine.batch_runner import BatchRunner
from app.engine.frames import FrameReader, unpack
from app.engine.inbox import Entry, Inbox, Rules
from app.engine.outbox import Outbox
from app.runtimes.base import Job


def test_a_batch_that_is_canceled_while_it_gathers_is_no_end() -> None:
    inbox = Inbox(Rules(Limits(2), wait=0.5))
    inbox.add([Entry(Job("left", {}), accepted_at=time.monotonic())])
    threads = [
        threading.Timer(0.05, inbox.cancel, ["left"]),
        threading.Timer(0.8, inbox.add, [[Entry(Job("later", {}))]]),
    ]
    for thread in threads:
        thread.start()
    assert [entry.job.id for entry in inbox.next_batch()] == ["later"]
    inbox.close()
    assert inbox.next_batch() == []


class Activations:
    """What a model holds while it runs."""


class TooLarge:
    """A model for which two rows are too many, and which is a long way down when it finds out."""

    ends_together = False

    def __init__(self) -> None:
        self.held: weakref.WeakSet[Activations] = weakref.WeakSet()
        self.seen: list[tuple[int, int]] = []

    def run(self, batch: Sequence[Job], feed: Any) -> Iterator[tuple[str, Event]]:
        self.seen.append((len(batch), len(self.held)))
        self.forward(batch)
        for job in batch:
            yield job.id, Finished(job.id)

    def forward(self, batch: Sequence[Job]) -> None:
        layer = Activations()
        self.held.add(layer)
        try:
            self.multiply(batch)
        except MemoryError as error:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory") from error

    def multiply(self, batch: Sequence[Job]) -> None:
        product = Activations()
        self.held.add(product)
        if len(batch) > 1:
            raise MemoryError


def test_the_halves_of_a_batch_that_did_not_fit_find_its_memory_free() -> None:
    model = TooLarge()
    ends = run_to_ends(model, "abcd")
    assert {name: end.output for name, end in ends.items()} == {name: name for name in "abcd"}
    assert model.seen[0] == (4, 0)
    assert {held for _, held in model.seen} == {0}, "(rows, what earlier runs hold)"


def run_to_ends(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """The ending of each job of one batch."""
    ours, theirs = socket.socketpair()
    outbox = Outbox(theirs)
    runner = BatchRunner(model, Inbox(Rules()), outbox, SimpleNamespace(drain=lambda: None))  # type: ignore[arg-type]
    runner.run_batch([Entry(Job(name, {})) for name in names])
    outbox.close()
    theirs.close()
    reader, messages = FrameReader(ours), []
    while group := reader.read():
        messages += group
    ours.close()
    return dict(unpack(packed) for _, events in messages for packed in events)


class Lanes:
    """A model that takes more while it runs, and keeps what it was given."""

    ends_together = True

    def __init__(self, broken: str = "") -> None:
        self.batches: list[list[str]] = []
        self._on_bug = broken

    def run(self, batch: Sequence[Job], feed: Any) -> Iterator[tuple[str, Event]]:
        while batch:
            self.batches.append([job.id for job in batch])
            if any(job.id == self._on_bug for job in batch):
                raise ValueError("not this one")
            for job in batch:
                yield job.id, Finished(job.id)
            feed.flush()
            batch = feed.more()


def run_all(model: Lanes, jobs: Sequence[Job], limits: Limits = Limits(2)) -> list[list[str]]:
    """The ids of what a model was given until nobody waited any more."""
    inbox, (ours, theirs) = Inbox(Rules(limits)), socket.socketpair()
    outbox = Outbox(theirs)
    runner = BatchRunner(model, inbox, outbox, SimpleNamespace(drain=lambda: None))  # type: ignore[arg-type]
    inbox.add([Entry(job) for job in jobs])
    while {name for group in model.batches for name in group} != {job.id for job in jobs}:
        runner.run_batch(inbox.next_batch())
    outbox.close()
    ours.close()
    theirs.close()
    return model.batches


def test_more_is_the_next_batch_until_it_is_the_turn_of_another_key() -> None:
    jobs = [Job(name, {}, batch_key=name[0]) for name in ("a1", "a2", "a3", "b1", "a4")]
    assert run_all(Lanes(), jobs) == [["a1", "a2"], ["a3", "a4"], ["b1"]]


def test_nobody_joins_a_batch_that_is_run_again() -> None:
    model = Lanes(broken="a1")
    assert run_all(model, [Job(name, {}) for name in ("a1", "a2", "a3")]) == [
        ["a1", "a2"],
        ["a1"],
        ["a2"],
        ["a3"],
    ]


class Unreadable:
    """A model that raises for a whole batch when it cannot read one input of it."""

    ends_together = False

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def run(self, batch: Sequence[Job], feed: Any) -> Iterator[tuple[str, Event]]:
        self.batches.append([job.id for job in batch])
        if any(job.id.startswith("bad") for job in batch):
            raise ValueError("cannot identify image file")
        for job in batch:
            yield job.id, Finished(job.id)


MIXED = [f"{word}{number}" for number in range(4) for word in ("good", "bad", "bad")]


@pytest.mark.parametrize(
    "names", [["bad1", "bad2", "bad3", "bad4", "good1", "good2", "good3", "good4"], MIXED, MIXED[::-1]]
)
def test_an_input_never_fails_with_the_error_of_others(names: list[str]) -> None:
    model = Unreadable()
    ends = run_to_ends(model, names)
    assert {name for name, end in ends.items() if isinstance(end, Finished)} == {
        name for name in names if name.startswith("good")
    }


def test_a_model_that_is_slow_to_fail_is_given_up_but_every_group_was_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_runner, "ISOLATION_SECONDS", 0.0)
    model, names = Unreadable(), [f"bad{number:02}" for number in range(16)]
    ends = run_to_ends(model, names)
    assert all(isinstance(end, Failed) for end in ends.values())
    assert [len(batch) for batch in model.batches] == [16, 8, *[1] * 8, 8], "the second half is not cut"
    assert {name for batch in model.batches[1:] for name in batch} == set(names)


class Crowded(Lanes):
    """Two batches at once are too much for its memory, until they are of 200 cells at most."""

    ends_together = False

    def run(self, batch: Sequence[Job], feed: Any) -> Iterator[tuple[str, Event]]:
        beside = feed.more()
        self.batches += [[job.id for job in group] for group in (batch, beside) if group]
        if sum(job.length for job in [*batch, *beside]) > 400:
            raise MemoryError
        for job in (*batch, *beside):
            yield job.id, Finished(job.id)


def test_of_several_batches_that_did_not_fit_together_the_next_ones_are_half_as_large() -> None:
    jobs = [Job(f"{number:02}", {}, length=100) for number in range(12)]
    batches = run_all(Crowded(), jobs, Limits(8, 400))
    assert [len(group) for group in batches[:2]] == [4, 4]
    assert {len(group) for group in batches if group[0] >= "08"} == {2}


def test_of_a_long_error_the_beginning_leaves_the_process() -> None:
    assert len(batch_runner.error_text(ValueError("x" * 5_000_000))) < 11_000
    assert batch_runner.error_text(KeyError("x" * 100)).startswith("KeyError: 'xxx")
