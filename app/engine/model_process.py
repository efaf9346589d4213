"""The life of a model process, from the fork to the end: load, read and prepare, run batches, end with the
socket.

Two threads matter: the reader (frames, `prepare`) and the batch loop on the main thread (everything that
touches the device). Knows runtimes by name and frames; nothing of the engine's queues, retries or other
models.
"""

import contextlib
import faulthandler
import os
import random
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.domain import version_settings
from app.domain.errors import NotFound
from app.domain.work import Canceled, Failed, Log, ModelSpec
from app.engine import cost_model, process_limits
from app.engine.batch_policy import DEFAULT_COST, Limits
from app.engine.batch_runner import BatchRunner, describe, waited
from app.engine.frames import FrameReader
from app.engine.inbox import Entry, Inbox, Rules
from app.engine.log_capture import LogCapture
from app.engine.outbox import Outbox
from app.runtimes import registry
from app.runtimes.base import Job, Runtime

# What one model had to import, the fork server imports for the next: ready in 0.3 s instead of 1.6 s
# (MiniLM).
LEARNT = re.compile(r"(transformers|diffusers|torch)(\.[A-Za-z0-9_]+)+")
# Time for the last words after the socket has ended; the engine kills after its own grace anyway.
LAST_WORDS_SECONDS = 2.0


def main(socket_fd: int, log_read: int, log_write: int) -> int:
    """Returns the exit status. The first message must be `load`."""
    process_limits.prefer_as_victim()
    reader = FrameReader(sock := socket.socket(fileno=socket_fd))
    messages = reader.read()
    if not messages:
        return 0
    process = ModelProcess(sock, reader, log_read)
    process.capture.start(log_write)
    faulthandler.enable(all_threads=False)
    return process.live(messages[0][1])


class ModelProcess:
    """One model. Built in the process that runs it."""

    def __init__(self, sock: socket.socket, reader: FrameReader, log_read: int) -> None:
        self._reader = reader
        self._outbox = Outbox(sock)
        self.capture = LogCapture(log_read, self._log)
        self._inbox = Inbox(Rules())
        self._runtime: Runtime | None = None
        self._runner: BatchRunner | None = None
        self._ended = threading.Event()

    def live(self, order: Mapping[str, Any]) -> int:
        """Until the socket ends; 1 when the model could not be loaded."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            self._load(order)
        except BaseException as error:  # noqa: BLE001 - whatever a model raises at load is its failure
            traceback.print_exc()
            self.capture.drain()
            self._outbox.message("failed", describe(error))
            self._outbox.close()
            return 1
        self._run_batches()
        self._say_goodbye()
        return 0

    def _load(self, order: Mapping[str, Any]) -> None:
        spec, before = ModelSpec(**order["spec"]), set(sys.modules)
        process_limits.limit_memory(int(order.get("memory_bytes") or 0))
        reseed()
        set_threads(spec.threads)
        self._inbox.rules = rules_of(spec.config)
        self._runtime = runtime = runtime_class(spec.runtime, order.get("runtime_folders") or ()).load(spec)
        set_threads(spec.threads)  # again: `load` may have been the first to import torch
        runtime.warm_up()
        self._tune(runtime, spec, str(order.get("cost_folder") or ""))
        self._runner = BatchRunner(runtime, self._inbox, self._outbox, self.capture)
        self.capture.drain()
        self._outbox.message(
            "ready",
            {
                "bytes": max(runtime.bytes(), device_bytes()),
                "max_batch_size": self._inbox.rules.limits.size,
                "imported": learnt(before),
                "facts": {**runtime.facts(), **batch_facts(self._inbox.rules)},
            },
        )

    def _tune(self, runtime: Runtime, spec: ModelSpec, folder: str) -> None:
        """Batches by what they cost on this device, and as large as is quick here unless the version says
        otherwise."""
        found = cost_model.of(runtime, spec, folder)
        rules = self._inbox.rules
        rules.cost_model, rules.unpadded = found or DEFAULT_COST, runtime.unpadded
        if found:
            rules.limits = cost_model.limits(found, rules.limits, spec.config)

    def _run_batches(self) -> None:
        assert self._runner is not None
        while batch := self._inbox.take():
            self._runner.run(batch)
            self.capture.drain()

    def _say_goodbye(self) -> None:
        assert self._runtime is not None
        with contextlib.suppress(Exception):
            self._runtime.unload()
        self._ended.set()

    def _log(self, text: str) -> None:
        """To the works of the running batch; else to the engine's own log."""
        running = self._runner.running if self._runner else None
        if running is not None and (ids := list(running.open)):
            self._outbox.events([(job_id, Log(text)) for job_id in ids])
        else:
            self._outbox.message("log", text)

    def _read(self) -> None:
        """The reader thread. At the end of the stream the process ends, even when the batch loop is stuck."""
        with contextlib.suppress(OSError):
            while messages := self._reader.read():
                self._handle(messages)
        self._inbox.close()
        self._ended.wait(LAST_WORDS_SECONDS)
        os._exit(0)

    def _handle(self, messages: Sequence[Any]) -> None:
        """Prepared jobs are handed over by the batch, not one by one: the first of a burst would run
        alone."""
        ready: list[Entry] = []
        for kind, *fields in messages:
            if kind == "work":
                ready += self._prepared(*fields)
            elif kind == "cancel":
                self._hand_over(ready)
                self._cancel(fields[0])
            if len(ready) >= self._inbox.rules.limits.size:
                self._hand_over(ready)
        self._hand_over(ready)

    def _hand_over(self, ready: list[Entry]) -> None:
        if ready:
            self._inbox.add(ready)
            ready.clear()

    def _cancel(self, job_id: str) -> None:
        if self._inbox.cancel(job_id):
            self._outbox.event(job_id, Canceled())

    def _prepared(self, job_id: str, given: Any, folder: str, *rest: Any) -> Iterator[Entry]:
        """The entry (`rest`: at, load, trial), or nothing when its input is bad: then it has been
        answered."""
        assert self._runtime is not None
        began = time.monotonic()
        entry = Entry(Job(id=job_id, input=given, files=folder), *rest)
        try:
            self._runtime.prepare(entry.job)
        except ValueError as error:
            self._refuse(entry, began, Failed(describe(error), code="invalid_input"))
        except Exception as error:  # noqa: BLE001 - whatever a model raises fails this input only
            self._outbox.event(job_id, Log(traceback.format_exc()))
            self._refuse(entry, began, Failed(describe(error)))
        else:
            entry.tokenise = time.monotonic() - began
            yield entry

    def _refuse(self, entry: Entry, began: float, failure: Failed) -> None:
        entry.tokenise = time.monotonic() - began
        self._outbox.event(entry.job.id, replace(failure, metrics=waited(entry)))


def runtime_class(name: str, folders: Sequence[str]) -> type[Runtime]:
    """From the registry; the folders are only read (and their files imported) for a name that it does not
    have."""
    try:
        return registry.find(name)
    except NotFound:
        registry.discover([Path(folder) for folder in folders])
        return registry.find(name)


def rules_of(config: Mapping[str, Any]) -> Rules:
    """How a version's batches are formed; what is `auto` or absent is our own choice."""
    usual = Limits()
    size = version_settings.number_of(config, "max_batch_size") or usual.size
    tokens = version_settings.number_of(config, "max_batch_tokens") or usual.tokens
    wait_ms = version_settings.number_of(config, "max_wait_ms") or 0.0
    return Rules(limits=Limits(max(1, int(size)), max(0, int(tokens))), wait=max(0.0, wait_ms) / 1000)


def batch_facts(rules: Rules) -> dict[str, Any]:
    """What a version's record shows of its batches here; the cost in milliseconds: fixed + rows x (row +
    longest x (token + longest x square)), when it was measured."""
    found: dict[str, Any] = {"max_batch_size": rules.limits.size}
    if rules.cost_model is not DEFAULT_COST:
        found["batch_cost_ms"] = {
            name: round(value * 1000, 7) for name, value in asdict(rules.cost_model).items()
        }
    return found


def device_bytes() -> int:
    """What torch holds on an accelerator after loading, buffers of the warm-up included; 0 when it was not
    used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved())


def learnt(before: set[str]) -> list[str]:
    """Library modules imported since; not those that are only other names of one."""
    new = [name for name in sys.modules if name not in before and LEARNT.fullmatch(name)]
    return sorted(
        name for name in new if getattr(getattr(sys.modules[name], "__spec__", None), "name", "") == name
    )


def set_threads(threads: int) -> None:
    """Two torch threads on two busy cores were measured 5 times slower than one, so the number is never
    torch's guess."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(max(1, threads))


def reseed() -> None:
    """Forks of one parent share its random state; unseeded sampling must differ between processes."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(int.from_bytes(os.urandom(4)))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(int.from_bytes(os.urandom(7)))
