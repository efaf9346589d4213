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
from app.domain.raw_tensors import cut
from app.domain.work import Canceled, Delivered, Failed, Log, ModelSpec, with_lists
from app.engine import cost_model, process_limits
from app.engine.batch_policy import DEFAULT_COST, Limits
from app.engine.batch_runner import BatchRunner, error_text, phase_seconds
from app.engine.frames import FrameReader
from app.engine.inbox import Entry, Inbox, Rules
from app.engine.log_capture import LogCapture
from app.engine.outbox import Outbox
from app.folder_content import check_unchanged
from app.runtimes import registry
from app.runtimes.base import Job, Runtime

# What one model had to import, the fork server imports for the next: ready in 0.3 s instead of 1.6 s
# (MiniLM).
PRELOADABLE = re.compile(r"(transformers|diffusers|torch)(\.[A-Za-z0-9_]+)+")
# Time to unload after the socket has ended; the engine kills after its own grace anyway.
UNLOAD_SECONDS = 2.0
# How often a loaded process gives a sign of life. A thread of its own does it, because the others may be busy
# with a long input for many seconds; it is silent when the process is stopped, or when code that never lets
# go of the interpreter runs.
ALIVE_SECONDS = 1.0


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
    return process.serve(messages[0][1])


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

    def serve(self, load_message: Mapping[str, Any]) -> int:
        """Loads, then runs batches until the socket ends; 1 when the model could not be loaded."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        try:
            self._load(load_message)
        except BaseException as error:  # noqa: BLE001 - whatever a model raises at load is its failure
            traceback.print_exc()
            self.capture.drain()
            self._outbox.send_message("failed", _without_folder(error_text(error), load_message))
            self._outbox.close()
            return 1
        threading.Thread(target=self._give_signs_of_life, name="alive", daemon=True).start()
        self._run_batches()
        self._unload()
        return 0

    def _load(self, message: Mapping[str, Any]) -> None:
        folder = str(message.get("cost_folder") or "")
        spec, before = replace(ModelSpec(**message["spec"]), choices=folder), set(sys.modules)
        process_limits.limit_memory(int(message.get("memory_bytes") or 0))
        reseed()
        set_threads(spec.threads)
        check_unchanged([*map(Path, spec.contents or (spec.path,))], spec.fingerprint)
        chosen = find_runtime(spec.runtime, message.get("runtime_folders") or ())
        self._inbox.rules = rules_from_config(spec.config, batches=chosen.batches)
        runtime = chosen.load(spec)
        set_threads(spec.threads)  # again: `load` may have been the first to import torch
        runtime.warm_up()
        if runtime.batches != chosen.batches:  # as its files say
            self._inbox.rules = rules_from_config(spec.config, batches=runtime.batches)
        self._tune(runtime, spec, folder)
        self._runtime = runtime
        self._runner = BatchRunner(runtime, self._inbox, self._outbox, self.capture)
        self.capture.drain()
        self._outbox.send_message("ready", ready_message(runtime, self._inbox.rules, newly_imported(before)))

    def _tune(self, runtime: Runtime, spec: ModelSpec, folder: str) -> None:
        """Batches by what they cost on this device, and as large as is quick here unless the version says
        otherwise."""
        measured = cost_model.load_or_measure(runtime, spec, folder)
        rules = self._inbox.rules
        rules.cost_model, rules.unpadded = measured or DEFAULT_COST, runtime.unpadded
        if measured:
            rules.limits = cost_model.auto_limits(measured, rules.limits, spec.config)

    def _give_signs_of_life(self) -> None:
        while not self._ended.wait(ALIVE_SECONDS):
            self._outbox.send_message("alive", None)

    def _run_batches(self) -> None:
        assert self._runner is not None
        while batch := self._inbox.next_batch():
            self._runner.run_batch(batch)
            self.capture.drain()

    def _unload(self) -> None:
        assert self._runtime is not None
        with contextlib.suppress(Exception):
            self._runtime.unload()
        self._ended.set()

    def _log(self, text: str) -> None:
        """To the one that runs; to the engine's own log when none does, or several, who may be callers that
        must not see what another's input made the model say."""
        running = self._runner.running if self._runner else None
        if running is not None and len(ids := list(running.open)) == 1:
            self._outbox.send_event(ids[0], Log(text))
        else:
            self._outbox.send_message("log", text)

    def _read(self) -> None:
        """The reader thread. At the end of the stream the process ends, even when the batch loop is stuck."""
        with contextlib.suppress(OSError):
            while messages := self._reader.read():
                self._handle(messages)
        self._inbox.close()
        self._ended.wait(UNLOAD_SECONDS)
        os._exit(0)

    def _handle(self, messages: Sequence[Any]) -> None:
        """Prepared jobs go to the inbox by the batch, not one by one: the first of a burst would run
        alone."""
        ready: list[Entry] = []
        for kind, *fields in messages:
            if kind == "work":
                ready += self._prepare(*fields)
            elif kind == "cancel":
                self._add_to_inbox(ready)
                self._cancel(fields[0])
            if len(ready) >= self._inbox.rules.limits.size:
                self._add_to_inbox(ready)
        self._add_to_inbox(ready)

    def _add_to_inbox(self, ready: list[Entry]) -> None:
        if ready:
            self._inbox.add(ready)
            ready.clear()

    def _cancel(self, job_id: str) -> None:
        if self._inbox.cancel(job_id):
            self._outbox.send_event(job_id, Canceled())

    def _prepare(self, job_id: str, values: Any, folder: str, delivered: Any, *rest: Any) -> Iterator[Entry]:
        """The entry (`rest`: accepted_at, load_seconds, isolation_group, rank, and for a caller that takes
        tensors: what those of the input are, and their bytes), or nothing when its input is bad: then it has
        been answered. `delivered`: chunks and states, where there are some to go on from."""
        assert self._runtime is not None
        began = time.monotonic()
        earlier = Delivered(*delivered) if delivered else None
        tensors = cut(*rest[4:]) if rest[4:] else None
        if not self._runtime.takes_tensors:
            values, tensors = with_lists(values, tensors), None
        job = Job(id=job_id, input=values, files=folder, delivered=earlier, tensors=tensors)
        entry = Entry(job, *rest[:4])
        try:
            self._runtime.prepare(entry.job)
        except ValueError as error:
            self._refuse(entry, began, Failed(error_text(error), code="invalid_input"))
        except Exception as error:  # noqa: BLE001 - whatever a model raises fails this input only
            self._outbox.send_event(job_id, Log(traceback.format_exc()))
            self._refuse(entry, began, Failed(error_text(error)))
        else:
            entry.tokenise_seconds = time.monotonic() - began
            yield entry

    def _refuse(self, entry: Entry, began: float, failure: Failed) -> None:
        entry.tokenise_seconds = time.monotonic() - began
        self._outbox.send_event(entry.job.id, replace(failure, metrics=phase_seconds(entry)))


def find_runtime(name: str, folders: Sequence[str]) -> type[Runtime]:
    """From the registry; the folders are only read (and their files imported) for a name that it does not
    have."""
    try:
        return registry.find(name)
    except NotFound:
        registry.discover([Path(folder) for folder in folders])
        return registry.find(name)


def rules_from_config(config: Mapping[str, Any], *, batches: bool = True) -> Rules:
    """How a version's batches are formed; what is `auto` or absent is our own choice. `batches`: as the
    runtime says."""
    usual = Limits()
    size = (version_settings.number_of(config, "max_batch_size") or usual.size) if batches else 1
    tokens = version_settings.number_of(config, "max_batch_tokens") or usual.tokens
    wait_ms = version_settings.number_of(config, "max_wait_ms") or 0.0
    return Rules(limits=Limits(max(1, int(size)), max(0, int(tokens))), wait=max(0.0, wait_ms) / 1000)


def ready_message(runtime: Runtime, rules: Rules, imported: list[str]) -> dict[str, Any]:
    """What the process says of itself when it has loaded."""
    return {
        "bytes": max(runtime.bytes(), device_bytes()),
        "max_batch_size": rules.limits.size,
        "imported": imported,
        "facts": {**runtime.facts(), **batch_facts(rules)},
    }


def batch_facts(rules: Rules) -> dict[str, Any]:
    """What a version's record shows of its batches here; the cost in milliseconds: fixed + rows x (row +
    longest x (token + longest x square)), when it was measured."""
    facts: dict[str, Any] = {"max_batch_size": rules.limits.size}
    if rules.cost_model is not DEFAULT_COST:
        facts["batch_cost_ms"] = {
            name: round(value * 1000, 7) for name, value in asdict(rules.cost_model).items()
        }
    return facts


def device_bytes() -> int:
    """What torch holds on an accelerator after loading, buffers of the warm-up included; 0 when it was not
    used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved())


def newly_imported(before: set[str]) -> list[str]:
    """Library modules imported since; not those that are only other names of one."""
    new = [name for name in sys.modules if name not in before and PRELOADABLE.fullmatch(name)]
    return sorted(
        name for name in new if getattr(getattr(sys.modules[name], "__spec__", None), "name", "") == name
    )


def set_threads(threads: int) -> None:
    """Two torch threads on two busy cores were measured 5 times slower than one, so the number is never
    left to torch."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(max(1, threads))


def reseed() -> None:
    """Forks of one parent share its random state; unseeded sampling must differ between processes."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(int.from_bytes(os.urandom(4)))
    if torch := sys.modules.get("torch"):
        torch.manual_seed(int.from_bytes(os.urandom(7)))


def _without_folder(text: str, load_message: Mapping[str, Any]) -> str:
    """What libraries say of a load, without where the files lie: that is the server's business."""
    for name, whose in (("path", "model"), ("adapter", "adapter")):
        if len(folder := str(load_message["spec"].get(name) or "")) > 1:
            text = text.replace(folder, f"the {whose}'s folder")
    return text
