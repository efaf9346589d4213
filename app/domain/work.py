"""What a worker hands to the engine, what a runtime answers: plain data that crosses process borders as JSON.

A prediction's answers are one stream of events; a plain result is a stream of one `Finished`. Files never
travel: a runtime writes them into the work's folder and names them (`file_out`).
"""

from dataclasses import dataclass, field
from typing import Any

# A file among a runtime's outputs: {"$file": "0.png"}, relative to the work's folder. Never made from user
# input.
FILE_KEY = "$file"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model process loads.

    `path` is a local folder ("" for runtimes without files). `config` is the version's configuration (dtype,
    max_batch_size, max_batch_tokens, max_wait_ms, pooling, …); `device` a torch device string; `threads` CPU
    threads to use. `trust_remote_code` is decided by the worker from an administrator's setting, never from
    `config`.
    """

    version: str
    model: str
    runtime: str
    task: str = ""
    path: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    threads: int = 1
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One prediction's run. `input` has its defaults filled in and its files as local paths in `folder`.

    `timeout` is in seconds of running (0: none). `folder` exists, belongs to this attempt alone and is
    removed by the worker.
    """

    id: str
    input: dict[str, Any]
    folder: str = ""
    timeout: float = 0.0


def file_out(name: str) -> dict[str, str]:
    """A reference to a file that the runtime has written as `name` into the work's folder."""
    return {FILE_KEY: name}


@dataclass(frozen=True, slots=True)
class Started:
    """The work entered a running batch; `batch_size` as it was then."""

    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """One more element of a growing output list (a piece of text, an image)."""

    data: Any


@dataclass(frozen=True, slots=True)
class Log:
    """Text for the prediction's logs, with its line ends."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end, with the whole output (for a streaming runtime: the list of its chunks) and measured seconds
    and counts."""

    output: Any
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The end: the input's or the model's fault. `code` is one of `domain.errors`' PredictionError codes."""

    error: str
    code: str = "model_failed"
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Canceled:
    """The end: stopped on request at a step, or before it ran."""

    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Crashed:
    """The model process died under this work (crash, kill, out of memory). The end of this attempt: the
    worker hands it back, and whether there is another is decided by how often it crashed."""

    error: str


Event = Started | Chunk | Log | Progress | Finished | Failed | Canceled | Crashed
END = (Finished, Failed, Canceled, Crashed)
