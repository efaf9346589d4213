"""One case of the abuse table: what is sent, and which answers are allowed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from abuse_stage import Answer, Person, Stage

Act = Callable[[Stage], "Answer | Iterable[Answer] | None"]
QUICK, GIANT = 10.0, 30.0  # seconds within which an answer must be there
CREATE = "/v1/predictions"


@dataclass(frozen=True)
class Case:
    """`act` answers what came back; every status must be among `statuses`, 0 being a closed connection.

    `says` must stand in every answer: the name of the field. One that measures time runs `alone`.
    """

    row: str
    name: str
    act: Act
    statuses: tuple[int, ...]
    seconds: float = QUICK
    says: str = ""
    alone: bool = False


def sends(
    row: str,
    name: str,
    body: bytes,
    statuses: tuple[int, ...],
    *,
    path: str = CREATE,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    seconds: float = QUICK,
    says: str = "",
    who: Callable[[Stage], Person] = lambda stage: stage.ada,
) -> Case:
    """A case that is one request of Ada's."""
    return Case(
        row,
        name,
        lambda stage: who(stage).call(method, path, body, headers=headers or {}),
        statuses,
        seconds,
        says,
    )


def posts(row: str, name: str, value: Any, statuses: tuple[int, ...], **more: Any) -> Case:
    """The same with a JSON value."""
    return sends(row, name, orjson.dumps(value), statuses, **more)


def gets(row: str, name: str, path: str, statuses: tuple[int, ...], **more: Any) -> Case:
    """A case that is one GET of Ada's."""
    return Case(row, name, lambda stage: stage.ada.call("GET", path, **more), statuses)
