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


def written(one: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, what is written of it) for one of `registry.list_all`."""
    metadata = _plain(one["metadata"])
    if not one["error"]:
        return one["name"], {**one["spec"], METADATA: metadata}
    name = runtimes.BROKEN + hashlib.sha256(one["origin"].encode()).hexdigest()[:32]
    return name, {ERROR: one["error"][:MOST_ERROR], METADATA: metadata}


def _plain(value: Any) -> Any:
    """Python literals as JSON: sets and tuples as lists, everything strange as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def write(session: Session, found: Sequence[Mapping[str, Any]]) -> None:
    """What a worker found (`registry.list_all`) is known to the fleet from now on."""
    specs = [(one["origin"], *written(one)) for one in found]
    runtimes.put(
        session, {name: spec for _, name, spec in specs}, {name: origin for origin, name, _ in specs}
    )


def listed(found: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """The entries of a look at the files themselves."""
    return [entry(one["name"], written(one)[1], one["origin"]) for one in found]


def of_fleet(session: Session) -> list[Entry]:
    """The entries that the fleet's workers wrote."""
    return [
        entry("" if row.name.startswith(runtimes.BROKEN) else row.name, row.spec, row.origin)
        for row in runtimes.everything(session)
    ]


def in_public(one: Entry) -> Entry:
    """For callers who are no operators: paths of the server and traces of its files are not theirs to
    read."""
    hidden = one.origin.rpartition("/")[2]
    return replace(one, origin=hidden, error="cannot be imported" if one.error else "")


class RuntimeIndex:
    """The fleet's runtimes for the API. Blocks (SQL): use threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, *, task: str = "", hardware: str = "", query: str = "", whole: bool = False
    ) -> list[Entry]:
        """Those that fit, by name, broken files last; `whole`: with the server's paths and errors."""
        with self._database.unit() as session:
            found = of_fleet(session)
        fitting = [one for one in found if one.fits(task=task, hardware=hardware, query=query)]
        return [
            one if whole else in_public(one)
            for one in sorted(fitting, key=lambda one: (bool(one.error), one.name))
        ]
