"""Runs one batch inside a model process: everybody of it, and everybody who joined, gets exactly one ending.

A batch that raises is run again in halves, then alone, so that the input at fault fails by itself; one that
runs out of memory is halved and its size remembered. Knows the runtime's contract; nothing of sockets.
"""

import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from app.domain.errors import LovageError
from app.domain.work import END, Canceled, Chunk, Crashed, Event, Failed, Finished, Started, cut_error
from app.engine.batch_policy import Limits, padding_share
from app.engine.inbox import Entry, Inbox
from app.engine.log_capture import LogCapture
from app.engine.outbox import Outbox
from app.engine.retry_policy import isolation_groups
from app.runtimes.base import Job, Runtime
from app.runtimes.finite import NOT_FINITE, is_finite

# After such an error no CUDA call of this process works any more: only a new process helps
# (torch.AcceleratorError).
STICKY = ("AcceleratorError",)
STICKY_TEXTS = ("CUDA error", "device-side assert", "HIP error")
EXIT_STICKY = 70
# Every input of a batch that raised is run alone before it fails, unless that has taken so many seconds and
# so many have failed one after the other with the same words: then that is taken for the model's fault, and
# what is left is run in its groups once. A model that raises after half a minute would otherwise keep its
# device busy for a batch of 32 for a quarter of an hour.
ISOLATION_SECONDS = 10.0
SAME_FAILURES = 3


def is_out_of_memory(error: BaseException) -> bool:
    """torch raises its own class on accelerators and a RuntimeError of its CPU allocator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def is_sticky(error: BaseException) -> bool:
    if is_out_of_memory(error):
        return False
    return type(error).__name__ in STICKY or any(text in str(error) for text in STICKY_TEXTS)


def error_text(error: BaseException) -> str:
    """The text as it is where it is a sentence, its beginning where it is long; KeyError and the like need
    their name to be understood."""
    name, text = type(error).__name__, str(error)
    is_sentence = isinstance(error, (RuntimeError, ValueError, MemoryError, LovageError))
    return cut_error(text if text and is_sentence else f"{name}: {text}")


def error_code(error: BaseException) -> str:
    """A full disk is not the input's fault."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return "storage_error" if full else "model_failed"


def free_frames(error: BaseException) -> None:
    """Frees what the frames of a failed run hold, its activations: while the halves are tried, the error is
    still at hand."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__


def empty_device_cache() -> None:
    """What a failed batch reserved on the accelerator is free before the halves are tried. After
    `free_frames`."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class RunningBatch:
    """The `Feed` of one run. `open` holds those who have no ending yet; `members` counts all who ever were in
    it. `depth`: how often it was cut into smaller batches before."""

    def __init__(self, runner: "BatchRunner", entries: Sequence[Entry], depth: int = 0) -> None:
        self._runner, self._depth = runner, depth
        self.open: dict[str, Entry] = {}
        self.not_finite: set[str] = set()  # those that gave a piece which is no JSON
        self.members = 0
        self._key = entries[0].key
        self.enter(entries, entries)

    def enter(self, entries: Sequence[Entry], together: Collection[Entry]) -> None:
        """Marks them as started; the padding they meet is that of those they are run together with."""
        self.open.update((entry.job.id, entry) for entry in entries)
        self.members += len(entries)
        padding, now = padding_share([entry.job.length for entry in together]), time.monotonic()
        for entry in entries:
            entry.started_at, entry.batch_size = now, len(together)
            entry.padding = padding

    def join(self, capacity: int) -> Sequence[Job]:
        entries = self._runner.inbox.join(self._key, capacity)
        if entries:
            self.enter(entries, [*self.open.values(), *entries])
            self._runner.send_started(entries)
        return [entry.job for entry in entries]

    def more(self) -> Sequence[Job]:
        """Nobody joins a batch that is run again after an error."""
        entries = [] if self._depth else self._runner.inbox.more(self._key)
        if entries:
            self.enter(entries, entries)
            self._runner.send_started(entries)
        return [entry.job for entry in entries]

    def flush(self) -> None:
        self._runner.flush()

    def send(self, job_id: str, event: Event) -> None:
        self._runner.send_event(self, job_id, event)

    def canceled(self, job_id: str) -> bool:
        return job_id in self._runner.inbox.canceled


class BatchRunner:
    """Used by the batch loop's thread alone; `running` is read by the log thread, too."""

    running: RunningBatch | None = None

    def __init__(self, runtime: Runtime, inbox: Inbox, outbox: Outbox, capture: LogCapture) -> None:
        self._runtime = runtime
        self.inbox, self._outbox = inbox, outbox
        self._capture = capture
        self._failures: list[str] = []
        self._failing_since = 0.0
        self._drained = False

    def run_batch(self, entries: Sequence[Entry]) -> None:
        """Runs the batch until everybody has an ending."""
        self._failures, self._failing_since = [], 0.0
        self._run(entries, 0)
        self.running = None
        self.flush()

    def send_started(self, entries: Sequence[Entry]) -> None:
        self._outbox.add_events(
            (entry.job.id, Started(entry.batch_size, entry.job.continued)) for entry in entries
        )
        self._outbox.flush()

    def flush(self) -> None:
        """What was yielded so far leaves."""
        self._outbox.flush()
        self._drained = False

    def send_event(self, batch: RunningBatch, job_id: str, event: Event) -> None:
        """One that is no ending, of a job that has none yet."""
        if job_id in batch.open and not isinstance(event, END):
            self._on_event(batch, job_id, event)

    def _run(self, entries: Sequence[Entry], depth: int) -> None:
        if not (entries := self._without_canceled(entries)):
            return
        batch = self.running = RunningBatch(self, entries, depth)
        self.send_started(entries)
        try:
            for job_id, event in self._runtime.run([entry.job for entry in entries], batch):
                self._on_event(batch, job_id, event)
        except BaseException as error:  # noqa: BLE001 - whatever a model raises, the whole batch is answered
            self._after_error(batch, error, depth)
        else:
            self._fail_open(batch, lambda: Failed(_missing(batch)))

    def _on_event(self, batch: RunningBatch, job_id: str, event: Event) -> None:
        if job_id not in batch.open:
            print(f"the model answered {job_id}, which is not in the batch or has ended", file=sys.stderr)
        elif isinstance(event, END):
            self._end(batch, job_id, event)
        elif isinstance(event, Chunk) and not is_finite(event.data):
            batch.not_finite.add(job_id)
        elif not isinstance(event, Started):  # that was sent before the run; runtimes need not say it
            self._outbox.send_event(job_id, event)

    def _end(self, batch: RunningBatch, job_id: str, event: Any) -> None:
        if not self._drained:  # what it printed leaves before its end
            self._capture.drain()
            self._drained = self._runtime.ends_together
        entry = batch.open.pop(job_id)
        if isinstance(event, Finished):
            self._failures.clear()
            if job_id in batch.not_finite or not (is_finite(event.output) and is_finite(event.tensors)):
                event = Failed(NOT_FINITE, metrics=event.metrics)
        self.inbox.on_ended(job_id)
        event = _with_metrics(event, entry)
        if self._runtime.ends_together:
            self._outbox.add_events([(job_id, event)])
        else:
            self._outbox.send_event(job_id, event)

    def _without_canceled(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those canceled between two tries are not run again."""
        stopped = [entry for entry in entries if entry.job.id in self.inbox.canceled]
        for entry in stopped:
            self.inbox.on_ended(entry.job.id)
            self._outbox.send_event(entry.job.id, Canceled(batch_metrics(entry)))
        return [entry for entry in entries if entry not in stopped]

    def _fail_open(self, batch: RunningBatch, failure: Callable[[], Failed]) -> None:
        if batch.open:
            event = failure()
            for job_id in list(batch.open):
                self._end(batch, job_id, event)

    def _after_error(self, batch: RunningBatch, error: BaseException, depth: int) -> None:
        traceback.print_exc()
        self._capture.drain()
        if is_sticky(error):
            self._exit(error_text(error))
        free_frames(error)
        entries, text = list(batch.open.values()), error_text(error)
        if is_out_of_memory(error):
            self._shrink_limits(entries)
        self._failing_since = self._failing_since or time.monotonic()
        if len(entries) <= 1 or self._is_hopeless(text):
            self._failures.append(text)
            self._fail_open(batch, lambda: Failed(text, error_code(error)))
            return
        for group in isolation_groups(entries, 1 if is_out_of_memory(error) else depth + 1):
            self._run(group, depth + 1)

    def _is_hopeless(self, text: str) -> bool:
        """Whether the inputs of a batch that raised this need not be run one by one any more."""
        if time.monotonic() - self._failing_since < ISOLATION_SECONDS:
            return False
        return self._failures[-SAME_FAILURES:] == [text] * SAME_FAILURES

    def _shrink_limits(self, entries: Sequence[Entry]) -> None:
        """The next batches hold at most half the cells that did not fit; a job alone is always tried. Several
        batches may have been under way (`more`), none of them larger than the limit."""
        empty_device_cache()
        longest = max((entry.job.length for entry in entries), default=1)
        fitting = max(1, len(entries) // 2)
        old = self.inbox.rules.limits
        most = old.tokens // 2 if len(entries) > 1 else old.tokens
        tokens = min(most or sys.maxsize, fitting * longest)
        size = min(old.size, fitting) if longest <= 1 else old.size
        self.inbox.rules.limits = Limits(size, tokens)
        print(
            f"out of memory with {len(entries)} x {longest}; batches are kept to {max(1, tokens // longest)}"
            f" x {longest}",
            file=sys.stderr,
        )

    def _exit(self, text: str) -> None:
        """The engine treats this as the crash it is."""
        self._outbox.send_message("dying", text)
        self._outbox.close()
        os._exit(EXIT_STICKY)


def _missing(batch: RunningBatch) -> str:
    return f"the model answered {batch.members - len(batch.open)} of a batch of {batch.members}"


def _with_metrics(event: Any, entry: Entry) -> Event:
    """An ending with the item's seconds and batch; only the engine may say Crashed, so that becomes
    Failed."""
    if isinstance(event, Crashed):
        event = Failed(event.error)
    metrics = {**event.metrics, **batch_metrics(entry)}
    if "padding" in event.metrics:  # the runtime cut the batch itself
        metrics["padding"] = round(event.metrics["padding"], 4)
    ending: Event = replace(event, metrics=metrics)
    return ending


def batch_metrics(entry: Entry) -> dict[str, Any]:
    """Of a job that was in a batch."""
    return {**phase_seconds(entry), "batch_size": entry.batch_size, "padding": round(entry.padding, 4)}


def phase_seconds(entry: Entry) -> dict[str, Any]:
    """Seconds since the engine took the job, without gaps: load + tokenise + batch_wait + run. Also of one
    that was in no batch."""
    now = time.monotonic()
    started_at = entry.started_at or now
    waited = started_at - entry.accepted_at - entry.load_seconds - entry.tokenise_seconds
    return {
        "load": round(entry.load_seconds, 6),
        "tokenise": round(entry.tokenise_seconds, 6),
        "batch_wait": round(max(0.0, waited), 6),
        "run": round(now - started_at, 6),
    }
