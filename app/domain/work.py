"""What a worker hands to the engine, what a runtime answers: plain data that crosses process borders as JSON.

A prediction's answers are one stream of events; a plain result is a stream of one `Finished`. Files never
travel: a runtime writes them into the work's folder and names them (`file_out`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.raw_tensors import RawTensors, as_lists, as_recorded
from app.domain.tensor_signature import GRAPH

# A file among a runtime's outputs: {"$file": "0.png"}, relative to the work's folder. Never made from user
# input.
FILE_KEY = "$file"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model process loads.

    `path` is a local folder ("" for runtimes without files). `config` is the version's configuration (dtype,
    max_batch_size, max_batch_tokens, max_wait_ms, pooling, …); `device` a torch device string; `threads` CPU
    threads to use. `trust_remote_code` is decided by the worker from an administrator's setting, never from
    `config`. `development`: what does harm on purpose is allowed. `fingerprint`: what the folder must
    hold (app/folder_content.py); "": it is not compared. `choices`: a folder for what was chosen by
    measuring; "": nothing is kept. `adapter`: a folder whose adapter (LoRA and its kin) is merged into the
    model of `path`; "": there is none. `contents`: the folders that `fingerprint` is of, in this order;
    empty: `path` alone.
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
    development: bool = False
    fingerprint: str = ""
    choices: str = ""
    adapter: str = ""
    contents: tuple[str, ...] = ()


@dataclass(slots=True)
class Delivered:
    """The pieces of an output that its readers have had, and the state after each (`Chunk.state`)."""

    chunks: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.chunks)

    def add(self, chunk: "Chunk") -> None:
        """One more."""
        self.chunks.append(chunk.data)
        self.states.append(chunk.state)

    def cut(self, count: int) -> None:
        """Keeps the first `count`."""
        del self.chunks[count:], self.states[count:]

    def copy(self) -> "Delivered":
        return Delivered(list(self.chunks), list(self.states))

    def as_chunks(self) -> "Iterator[Chunk]":
        return map(Chunk, self.chunks, self.states)

    @property
    def can_be_continued(self) -> bool:
        """Whether a run has all that it needs to go on from here."""
        return bool(self.chunks) and None not in self.states


@dataclass(frozen=True, slots=True)
class Work:
    """One prediction's run. `input` has its defaults filled in and its files as local paths in `folder`.

    `timeout` is in seconds of running (0: none). `folder` exists, belongs to this attempt alone and is
    removed by the worker. `delivered`: what an earlier attempt has given out. `caller` names who is to answer
    for what it does ("": nobody knows). Of what waits, the lowest `rank` runs first. `tensors`: what of the
    input came as bytes; in `input` is only what is recorded of it. Its caller takes tensors of the output as
    bytes, too; None: it does not. `routing` is the request's own, for backends.
    """

    id: str
    input: dict[str, Any]
    folder: str = ""
    timeout: float = 0.0
    delivered: Delivered | None = None
    caller: str = ""
    rank: float = 0.0
    tensors: RawTensors | None = None
    routing: Mapping[str, Any] | None = None

    def json_input(self) -> dict[str, Any]:
        """The whole input as JSON, for those who take no bytes."""
        return with_lists(self.input, self.tensors)


def with_lists(values: dict[str, Any], tensors: RawTensors | None) -> dict[str, Any]:
    """An input with the tensors that came beside it."""
    return {**values, GRAPH: {**values.get(GRAPH, {}), **as_lists(tensors)}} if tensors else values


def file_out(name: str) -> dict[str, str]:
    """A reference to a file that the runtime has written as `name` into the work's folder."""
    return {FILE_KEY: name}


# What holds no file. Whole lists are held against it: a caption may stand before a file, and a vector of
# 1,000 numbers costs 20 microseconds.
PLAIN = frozenset({str, int, float, bool, type(None)})


def map_files(output: Any, replace: Callable[[str], Any]) -> Any:
    """The output with every file reference in it, however deep, replaced."""
    if isinstance(output, dict):
        if len(output) == 1 and isinstance(name := output.get(FILE_KEY), str):
            return replace(name)
        return {name: map_files(value, replace) for name, value in output.items()}
    if isinstance(output, list) and not PLAIN.issuperset(map(type, output)):
        return [map_files(value, replace) for value in output]
    return output


def list_files(output: Any) -> list[str]:
    """The names or keys of all files in an output, in order."""
    names: list[str] = []
    if not isinstance(output, str):
        map_files(output, names.append)
    return names


@dataclass(frozen=True, slots=True)
class Started:
    """The work entered a running batch; `batch_size` as it was then. `continued`: the run goes on behind so
    many chunks of an earlier one; 0: it begins at the beginning."""

    batch_size: int = 1
    continued: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """One more element of a growing output list (a piece of text, an image). `state`: what a later run needs,
    beside those of the chunks before, to go on behind this one; None: it cannot."""

    data: Any
    state: Any = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """The engine's own: another run of the work answers other chunks than those that were delivered. They are
    void; the output begins anew."""


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
    and counts. `tensors`: outputs that stay bytes, for a caller that takes them; `output` is then an object
    with the others."""

    output: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    tensors: RawTensors = field(default_factory=dict)

    @property
    def recorded(self) -> Any:
        """The output as it is written down."""
        return {**self.output, **as_recorded(self.tensors)} if self.tensors else self.output


# Of why something failed, in characters. It stands in lists, webhooks and heartbeats, and libraries repeat
# what they were given in it.
LONGEST_ERROR = 10_000


def cut_error(text: str) -> str:
    """Its beginning, where it is longer than LONGEST_ERROR."""
    if len(text) <= LONGEST_ERROR:
        return text
    return f"{text[:LONGEST_ERROR]} … ({len(text):,} characters)"


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


Event = Started | Chunk | Restarted | Log | Progress | Finished | Failed | Canceled | Crashed
END = (Finished, Failed, Canceled, Crashed)
