"""What runtimes there are, in words that can be listed and searched: built-ins, plug-ins, files, and broken
files.

Made from what the registry found (by whoever has the files) or from a row that a worker wrote (by the API).
Imports no runtime.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from app.db import runtimes
from app.db.session import Database
from app.services.catalogue.model_kind import RUNTIME_OF_TASK

# Keys that stand beside a RuntimeSpec's own ones in what is written of it.
METADATA, ERROR = "metadata", "error"
MOST_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A runtime, or a file that should hold one (then `error` says why not). No `hardware`: it runs on
    any."""

    name: str
    description: str
    tasks: tuple[str, ...]
    hardware: tuple[str, ...]
    model_id: str
    architecture: str
    streams: bool
    needs_source: bool
    origin: str
    error: str
    metadata: dict[str, Any]

    def fits(self, *, task: str = "", hardware: str = "", query: str = "") -> bool:
        """Whether it does this task, on this class of device, and all words of the query stand somewhere in
        it."""
        words = " ".join(
            [self.name, self.description, *self.tasks, self.model_id, self.architecture, str(self.metadata)]
        ).lower()
        return (
            (not task or task in self.tasks)
            and (not hardware or not self.hardware or hardware in self.hardware)
            and all(word in words for word in query.lower().split())
        )


def entry(name: str, spec: Mapping[str, Any], origin: str) -> Entry:
    """From what was written of a runtime."""
    metadata = dict(spec.get(METADATA) or {})
    tasks = [task for task in spec.get("inputs", {}) if task]
    tasks += [task for task, runtime in RUNTIME_OF_TASK.items() if runtime == name]
    return Entry(
        name=name,
        description=str(spec.get("description") or ""),
        tasks=tuple(dict.fromkeys([*_texts(metadata.get("task")), *sorted(tasks)])),
        hardware=_texts(metadata.get("hardware")),
        model_id=str(metadata.get("model_id") or ""),
        architecture=str(metadata.get("architecture") or ""),
        streams=bool(spec.get("streams")),
        needs_source=bool(spec.get("needs_source", True)),
        origin=origin,
        error=str(spec.get(ERROR) or ""),
        metadata=metadata,
    )


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, (list, tuple, set)) else ()


def as_written(runtime: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, what is written of it) for one of `registry.list_all`."""
    metadata = _plain(runtime["metadata"])
    if not runtime["error"]:
        return runtime["name"], {**runtime["spec"], METADATA: metadata}
    name = runtimes.BROKEN + hashlib.sha256(runtime["origin"].encode()).hexdigest()[:32]
    return name, {ERROR: runtime["error"][:MOST_ERROR], METADATA: metadata}


def _plain(value: Any) -> Any:
    """Python literals as JSON: sets and tuples as lists, everything strange as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def write(session: Session, known: Sequence[Mapping[str, Any]]) -> None:
    """What a worker found (`registry.list_all`) is known to the fleet from now on."""
    specs = [(runtime["origin"], *as_written(runtime)) for runtime in known]
    runtimes.put(
        session, {name: spec for _, name, spec in specs}, {name: origin for origin, name, _ in specs}
    )


def list_local(known: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """The entries of a look at the files themselves (`registry.list_all`)."""
    return [entry(runtime["name"], as_written(runtime)[1], runtime["origin"]) for runtime in known]


def list_fleet(session: Session) -> list[Entry]:
    """The entries that the fleet's workers wrote."""
    return [
        entry("" if name.startswith(runtimes.BROKEN) else name, spec, origin)
        for name, spec, origin in runtimes.list_all(session)
    ]


def in_public(entry: Entry) -> Entry:
    """For callers who are no operators: paths of the server and traces of its files are not theirs to
    read."""
    file_name = entry.origin.rpartition("/")[2]
    return replace(entry, origin=file_name, error="cannot be imported" if entry.error else "")


class RuntimeIndex:
    """The fleet's runtimes for the API. Blocks (SQL): use threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, *, task: str = "", hardware: str = "", query: str = "", whole: bool = False
    ) -> list[Entry]:
        """Those that fit, by name, broken files last; `whole`: with the server's paths and errors."""
        with self._database.unit() as session:
            entries = list_fleet(session)
        fitting = [entry for entry in entries if entry.fits(task=task, hardware=hardware, query=query)]
        ordered = sorted(fitting, key=lambda entry: (bool(entry.error), entry.name))
        return ordered if whole else [in_public(entry) for entry in ordered]
