"""Replicate's HTTP API as its clients depend on it, in tables: fields by their paths, rows of calls that are
all tried.

`test_replicate_*.py` hold a row for each endpoint, field, header, status and form of error. Left out are
trainings and collections. Where we differ on purpose, the row says how.
"""

import re
from datetime import datetime
from typing import Any

import httpx
from api_people import Person

MISSING = "(left out)"


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def moment(value: Any) -> bool:
    return text(value) and value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


def url(value: Any) -> bool:
    return text(value) and value.startswith("http://127.0.0.1:")


def seconds(value: Any) -> bool:
    return isinstance(value, float | int) and 0 <= value < 60


def at(body: Any, path: str) -> Any:
    """`a.b.0.c` of a JSON value."""
    for step in path.split("."):
        if isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        elif isinstance(body, dict) and step in body:
            body = body[step]
        else:
            return MISSING
    return body


def fits(found: Any, wanted: Any) -> bool:
    return bool(wanted(found)) if callable(wanted) else found == wanted and type(found) is type(wanted)


def wrong(found: dict[str, Any] | httpx.Headers, table: dict[str, Any]) -> list[str]:
    """A line for each row of the table that the answer does not have."""
    rows = (
        (name, found.get(name) if isinstance(found, httpx.Headers) else at(found, name)) for name in table
    )
    return [f"{name}: {value!r}" for name, value in rows if not fits(value, table[name])]


Row = tuple[str, str, Any, int, dict[str, Any]]


def all_rows_hold(person: Person, rows: list[Row]) -> None:
    """(method, path, what is sent, status, fields of the answer): every row is tried before any is told."""
    failures = []
    for method, path, sent, status, fields in rows:
        answer = person.http.request(method, path, **(sent or {}))
        if answer.status_code != status:
            failures.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        elif bad := wrong(answer.json() if fields else {}, fields):
            failures.append(f"{method} {path}: {bad}")
    assert not failures, "\n".join(failures)


def ended(person: Person, model: str = "ada/echo", **given: Any) -> dict[str, Any]:
    answer = person.http.post(
        "/v1/predictions", headers={"Prefer": "wait=30"}, json={"version": model, "input": given}
    )
    assert answer.json()["status"] in ("succeeded", "failed"), answer.text
    return dict(answer.json())


def under(prefix: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": wanted for name, wanted in table.items()}


WAITING: dict[str, Any] = {
    "id": text,
    "model": "ada/echo",
    "version": re.compile(r"[0-9a-f]{64}").fullmatch,
    "status": "starting",
    "input": lambda found: isinstance(found, dict),
    "output": None,
    "error": None,
    "logs": "",
    "metrics": {},
    "created_at": moment,
    "started_at": None,
    "completed_at": None,
    "source": "api",
    "data_removed": False,
    "urls.get": url,
    "urls.cancel": lambda found: url(found) and found.endswith("/cancel"),
    "urls.web": url,
    "urls.stream": lambda found: "/v1/streams/" in found,
    "deployment": MISSING,
    "deadline": MISSING,
}

DONE: dict[str, Any] = WAITING | {
    "status": "succeeded",
    "output": "Hi",
    "started_at": moment,
    "completed_at": moment,
    "metrics.predict_time": seconds,
    "metrics.total_time": seconds,
    "metrics": lambda found: isinstance(found, dict),
}
