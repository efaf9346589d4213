"""What a runtime is. It runs inside a model process, on one thread; it knows no database, queue, worker or
web.

A runtime module must import without torch, transformers or diffusers: import them inside `load`, so that the
API's tools and `lovage discover` can read `spec` anywhere.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from app.domain import version_settings
from app.domain.raw_tensors import RawTensors
from app.domain.work import Delivered, Event, ModelSpec


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """A runtime's face: what a caller may send and gets.

    `inputs` and `outputs` map a task ("" is the default) to a JSON Schema. Input schemas are objects with
    `properties` (type, title, description, default, minimum/maximum, maxLength, enum, `x-order` from 0) and
    `required`; every number has a maximum. Outputs of streaming runtimes are arrays with `x-cog-array-type:
    iterator`, or objects whose `chunks` are what was streamed (domain/streamed_output.py).
    """

    name: str
    description: str
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    streams: bool = False
    # Classes of config.json whose versions stream, too, where `streams` does not hold for every model.
    streaming_classes: tuple[str, ...] = ()
    needs_source: bool = True
    admin_only: bool = False
    # JSON Schemas of the version's `config` keys that are this runtime's own.
    config: dict[str, Any] = field(default_factory=dict)
    # The settings that this runtime reads of those that are left to runtimes (dtype, torch_compile, fused;
    # domain/version_settings.py). A version that sets another of them is refused; the platform's own settings
    # (max_batch_size, timeout, …) hold for every runtime.
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.reads if not version_settings.is_left_to_runtimes(name)]
        if unknown:
            raise ValueError(f"reads: {', '.join(unknown)} is no version setting that is left to runtimes")

    def input_schema(self, task: str) -> dict[str, Any]:
        """The schema for `task`, or the default one. KeyError when the runtime has neither."""
        return self.inputs.get(task) or self.inputs[""]


@dataclass(slots=True)
class Job:
    """A prediction inside the model process: `input` as sent, `prepared` by `Runtime.prepare`, `length` in
    the runtime's own unit (tokens for text).

    `delivered`: the chunks of an earlier run, whose process died, with the states that the runtime gave with
    them (`Chunk.state`); None: there are none. A runtime that can go on behind them sets `continued` to their
    number in `prepare`, yields only what comes after, and finishes with the whole output. One that does not
    begins at the beginning: the engine leaves out what is repeated, and tells readers if it is not the same.

    `tensors`: as Work's; always None where the runtime does not take them: then the input has lists.
    """

    id: str
    input: dict[str, Any]
    prepared: Any = None
    length: int = 1
    batch_key: Hashable = ""
    files: str = ""
    delivered: Delivered | None = None
    continued: int = 0
    tensors: RawTensors | None = None

    @property
    def folder(self) -> str:
        """Where files of the output are written; created at the first use, as most jobs write none."""
        os.makedirs(self.files, exist_ok=True)
        return self.files


class Feed(Protocol):
    """A running batch's view of what waits. Only runtimes that admit work while they run need `join` or
    `more`."""

    def join(self, capacity: int) -> Sequence[Job]:
        """At most `capacity` waiting jobs of the running batch's `batch_key`, oldest first; they are in the
        batch from then on."""

    def more(self) -> Sequence[Job]:
        """The next batch of the running one's `batch_key`, unless it is another key's turn; its jobs are in
        the running batch from then on."""

    def flush(self) -> None:
        """Sends what was yielded so far now, not with what is yielded next."""

    def send(self, job_id: str, event: Event) -> None:
        """Passes on an event that is no ending, for code that cannot yield while it works."""

    def canceled(self, job_id: str) -> bool:
        """Whether this job is to be stopped at the next step. The runtime then yields `(job_id,
        Canceled())`."""


class Alone:
    """The `Feed` of a measurement: nobody joins, nobody cancels."""

    def join(self, capacity: int) -> Sequence[Job]:
        return []

    def more(self) -> Sequence[Job]:
        return []

    def flush(self) -> None:
        pass

    def send(self, job_id: str, event: Event) -> None:
        pass

    def canceled(self, job_id: str) -> bool:
        return False


class Runtime(ABC):
    """One loaded model. Created by `load` in the model process; all methods but `prepare` run on the batch
    thread.

    `run` yields `(job id, event)` pairs; every job of the batch, and every one that joined, gets exactly one
    ending event (Finished, Failed or Canceled). `Started` and `Crashed` are the engine's to send. An
    exception from `run` fails every job of the batch that has not ended.
    """

    spec: ClassVar[RuntimeSpec]
    # To be read on the instance: True when `run` calls `feed.join` and works on jobs of different progress
    # side by side.
    joins: ClassVar[bool] = False
    # To be read on the instance, once it is loaded: False when `run` works on one job after the other; then
    # each is a batch of its own, which begins when the job does, and what is printed meanwhile is the job's.
    batches: bool = True
    # True when `run` has many answers at the same time: the engine passes them on together, at the end or at
    # `feed.flush()`.
    ends_together: ClassVar[bool] = False
    # True when `prepare` looks into `Job.tensors` as well, and `run` answers a job that has some with
    # `Finished.tensors`.
    takes_tensors: ClassVar[bool] = False
    # To be read on the instance: True when rows of different length are not padded to the longest.
    unpadded: bool = False

    @classmethod
    @abstractmethod
    def load(cls, model: ModelSpec) -> "Runtime":
        """Loads the model's files onto its device. Raises any exception; its text becomes the predictions'
        error."""

    def prepare(self, job: Job) -> None:  # noqa: B027 (optional)
        """Fills `job.prepared`, `job.length` and `job.batch_key`, beside the running batch (tokenise, decode
        images).

        Runs on the reader thread, so it must not touch the device. Raises ValueError with a sentence for a
        bad input: that job alone fails.
        """

    @abstractmethod
    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        """Runs the batch (all of one `batch_key`)."""

    def warm_up(self) -> None:  # noqa: B027
        """Optional: one small run, so that the first caller does not pay for lazy initialisation."""

    def probe(self, length: int) -> dict[str, Any] | None:
        """Optional: an input of about this length, with which the engine measures what a batch costs on its
        device."""
        return None

    def facts(self) -> dict[str, Any]:
        """Optional: what was measured or chosen at load (the dtype and why, …), as JSON; shown with the
        version."""
        return {}

    def unload(self) -> None:  # noqa: B027
        """Optional: called once before the process ends, which frees everything."""

    def bytes(self) -> int:
        """Bytes of weights on the device; 0: none. The process's own memory is measured by the engine."""
        return 0
