"""What one running prediction has produced so far, fed by the engine's events. Knows no database and no clock
of its own."""

from dataclasses import dataclass, field
from typing import Any

from app.domain.predictions import Status
from app.domain.work import (
    FILE_KEY,
    Canceled,
    Chunk,
    Crashed,
    Event,
    Failed,
    Finished,
    Log,
    Progress,
    Started,
)

LOG_LIMIT = 200_000  # characters kept of a prediction's logs: the end is what people look for


@dataclass(slots=True)
class Tracker:
    """`ending` is set by the last event. `changed` names what to write: output, logs, progress."""

    chunks: list[Any] = field(default_factory=list)
    logs: str = ""
    progress: dict[str, int] | None = None
    ending: Finished | Failed | Canceled | Crashed | None = None
    changed: set[str] = field(default_factory=set)

    def take(self, event: Event) -> int | None:
        """Records an event; the number of a chunk that can be told live, else None."""
        match event:
            case Started():
                return None
            case Chunk(data):
                self.chunks.append(data)
                self.changed.add("output")
                return None if isinstance(data, dict) and FILE_KEY in data else len(self.chunks) - 1
            case Log(text):
                self.say(text)
            case Progress(done, total):
                self.progress = {"done": done, "total": total}
                self.changed.add("progress")
            case _:
                self.ending = event
        return None

    def say(self, text: str) -> None:
        """Adds to the logs. NUL cannot be stored in Postgres."""
        self.logs = (self.logs + text.replace("\x00", "\ufffd"))[-LOG_LIMIT:]
        self.changed.add("logs")

    @property
    def status(self) -> Status:
        """The terminal status that the ending stands for."""
        if isinstance(self.ending, Finished):
            return Status.SUCCEEDED
        return Status.CANCELED if isinstance(self.ending, Canceled) else Status.FAILED

    @property
    def output(self) -> Any:
        """The whole output at the end; before it, and after a failure, what has come so far."""
        return self.ending.output if isinstance(self.ending, Finished) else self.chunks or None
