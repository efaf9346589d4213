"""The fake that is product code: answers its input after as long as the input says. No model library.

It serves tests and load runs: by its inputs it streams, fails, crashes or hangs; by its version's
configuration it loads slowly, fails to load, or pretends to have a size and a limit of memory. It does not
know the time of day.
"""

import heapq
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from app.domain.work import Canceled, Chunk, Event, Failed, Finished, ModelSpec, file_out
from app.runtimes import schema
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec

# Longest sleep between two looks at cancellation and at what waits, in seconds: a cancel is honoured within
# it.
SLICE = 0.02

INPUTS = schema.inputs(
    {
        "text": schema.text("What to answer.", default="hello"),
        "seconds": schema.number("How long to work, in seconds.", minimum=0, maximum=86_400, default=0),
        "chunks": schema.integer(
            "Answer as this many pieces of the text, spread over the seconds; 0: at once. A shorter text is"
            " repeated.",
            minimum=0,
            maximum=10_000,
            default=0,
        ),
        "fail": {
            "description": "Fail when the time is over: true, or the error's text.",
            "anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 10_000}],
            "default": False,
        },
        "crash": schema.development(
            schema.boolean("Kill the model's own process when the time is over.", default=False)
        ),
        "hang": schema.development(
            schema.boolean("Never end when the time is over, and ignore cancellation.", default=False)
        ),
        "file": schema.boolean(
            "Answer a text file that holds the text instead of the text itself.", default=False
        ),
    }
)

CONFIG = {
    "load_seconds": schema.number("Loading takes this long.", minimum=0, maximum=3600),
    "load_error": schema.text("Loading fails with this text.", max_length=10_000),
    "load_crash": schema.development(schema.boolean("Loading kills its process.")),
    "bytes": schema.development(schema.integer("The size it says it has.", minimum=0, maximum=2**50)),
    "rows": schema.integer("A batch of more rows than this raises MemoryError.", minimum=1, maximum=2**20),
    "joins": schema.boolean("Waiting work joins the running batch between steps, as in text generation."),
}


class Echo(Runtime):
    """See the module. A batch runs side by side: each job ends when its own time is over."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="echo",
        description="Answers its input, slowly, in pieces, or not at all: for tests and load runs.",
        inputs={"": INPUTS},
        outputs={
            "": {
                "title": "Output",
                "anyOf": [{"type": "string"}, {"type": "string", "format": "uri"}, schema.chunks_of_text()],
            }
        },
        streams=True,
        needs_source=False,
        config=CONFIG,
    )

    def __init__(self, config: dict[str, Any], development: bool) -> None:
        self._development = development
        self.size = int(config.get("bytes", 0))
        self.rows = int(config.get("rows", 0))

    @classmethod
    def load(cls, model: ModelSpec) -> "Echo":
        config = model.config
        if not model.development:  # a version of an earlier release may have them
            refuse_harm(config, CONFIG)
        time.sleep(config.get("load_seconds", 0))
        if config.get("load_crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("load_error"):
            raise RuntimeError(config["load_error"])
        return (JoiningEcho if config.get("joins") else cls)(config, model.development)

    def prepare(self, job: Job) -> None:
        if not self._development:
            refuse_harm(job.input, INPUTS["properties"])
        job.length = max(1, len(job.input.get("text") or ""))

    def bytes(self) -> int:
        return self.size

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        if self.rows and len(batch) > self.rows:
            raise MemoryError(f"a batch of {len(batch)} rows does not fit; {self.rows} do")
        slow = []
        for job in batch:
            if _is_plain(job.input):  # the load tests' path: nothing but the answer
                yield job.id, Finished(job.input.get("text", ""))
            else:
                slow.append(job)
        if slow:
            yield from _side_by_side(slow, feed, self.joins)


def refuse_harm(values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Raises ValueError naming a value that only development may have."""
    for name, field in fields.items():
        if values.get(name) and field.get("x-development"):
            raise ValueError(f"`{name}` is for development only (LOVAGE_ENV=development)")


class JoiningEcho(Echo):
    """Echo by `config.joins`: work that waits joins the running batch."""

    joins = True


class _Course:
    """One job's way: its pieces, each with its time, then its end. Ordered by the time of the next step."""

    def __init__(self, job: Job, now: float) -> None:
        self.job = job
        self.pieces = _pieces(str(job.input.get("text", "")), int(job.input.get("chunks") or 0))
        self.sent = 0
        self.start = now
        self.step = float(job.input.get("seconds") or 0) / max(1, len(self.pieces))

    @property
    def due(self) -> float:
        return self.start + self.step * min(self.sent + 1, max(1, len(self.pieces)))

    def __lt__(self, other: "_Course") -> bool:
        return self.due < other.due

    def advance(self) -> Event:
        """The next event; the last one is an ending."""
        if self.sent < len(self.pieces):
            self.sent += 1
            return Chunk(self.pieces[self.sent - 1])
        return _end(self.job, self.pieces)


def _side_by_side(jobs: Sequence[Job], feed: Feed, joins: bool) -> Iterator[tuple[str, Event]]:
    running = [_Course(job, time.monotonic()) for job in jobs]
    heapq.heapify(running)
    while running:
        yield from _stop_canceled(running, feed)
        yield from _advance_due(running)
        if joins:
            for job in feed.join(1024):
                heapq.heappush(running, _Course(job, time.monotonic()))
        if running:
            time.sleep(min(SLICE, max(0.0, running[0].due - time.monotonic())))


def _advance_due(running: list[_Course]) -> Iterator[tuple[str, Event]]:
    """Moves everyone whose time has come by as many steps as are due, earliest first."""
    now = time.monotonic()
    while running and running[0].due <= now:
        course = heapq.heappop(running)
        event = course.advance()
        if isinstance(event, Chunk):
            heapq.heappush(running, course)
        yield course.job.id, event


def _stop_canceled(running: list[_Course], feed: Feed) -> Iterator[tuple[str, Event]]:
    stopped = [course for course in running if feed.canceled(course.job.id)]
    for course in stopped:
        running.remove(course)
        yield course.job.id, Canceled()
    if stopped:
        heapq.heapify(running)


def _is_plain(values: dict[str, Any]) -> bool:
    get = values.get
    return not (get("seconds") or get("chunks") or get("fail") or get("crash") or get("hang") or get("file"))


def _pieces(text: str, count: int) -> list[str]:
    """The text in `count` pieces of about one length, none empty; a shorter text is repeated first."""
    if count and len(text) < count:
        text = (text or ".") * -(-count // max(1, len(text)))
    return [text[i * len(text) // count : (i + 1) * len(text) // count] for i in range(count)]


def _end(job: Job, pieces: list[str]) -> Event:
    values = job.input
    if values.get("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    while values.get("hang"):
        time.sleep(3600)
    if fail := values.get("fail"):
        return Failed(fail if isinstance(fail, str) else "echo was asked to fail")
    if values.get("file"):
        return _filed(job)
    return Finished(pieces or values.get("text", ""))


def _filed(job: Job) -> Event:
    """A file that cannot be written is this job's failure alone; raised, it would have the whole batch tried
    again in halves."""
    try:
        return Finished(_write(job))
    except OSError as error:
        return Failed(f"The output file could not be written: {error.strerror}.", code="storage_error")


def _write(job: Job) -> dict[str, str]:
    with open(os.path.join(job.folder, "echo.txt"), "w", encoding="utf-8") as file:
        file.write(str(job.input.get("text", "")))
    return file_out("echo.txt")
