"""What a call does, step by step, written once for both clients: a generator that yields what is to be done
outside (a request, a pause) and gets its outcome. Opens no connection."""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

from lovage.errors import LovageError, Refused, Unreachable

T = TypeVar("T")
TRIES = 5  # of a client by default
MOST_TRIES = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between tries
UNAUTHORIZED = 401
AGAIN = frozenset({408, 429, 502, 503, 504})
SAFE = frozenset({"GET", "PUT", "DELETE"})
KEY = "Idempotency-Key"
NOT_FOUND = ("model could not be found.", "version could not be found.")
MODELS = "/v1/models/"
NEVER = "quota_exceeded"  # a 429 that waiting does not help


@dataclass(frozen=True, slots=True)
class Request:
    """One of HTTP; `path` may be a whole URL. `seconds`: for its answer, None: the client's own.
    `may_repeat`: sent twice it is carried out once, though it is no read."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Mapping[str, Any] | None = None
    seconds: float | None = None
    may_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """`data`: its JSON, or None. `had_key`: whether its request brought one."""

    status: int
    data: Any
    headers: Mapping[str, str]
    text: str = ""
    had_key: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """So many seconds. `error`: what the try of this `number` ended in; a client that tries no more raises
    it instead."""

    seconds: float
    error: LovageError | None = None
    number: int = 0


Step = Request | Pause  # others are carried out by whoever adds them
Flow: TypeAlias = Generator[Any, Any, T]  # gets a step's outcome, or has its LovageError thrown into it


def send(request: Request, tries: int = MOST_TRIES) -> Flow[Any]:
    """The JSON of its answer. What may be sent twice (reads, and creations with an idempotency key) is tried
    again where that may help, after as long as the server says. Raises Refused, Unreachable."""
    may_repeat = request.may_repeat or request.method in SAFE
    for number in range(1, tries + 1):
        is_last = number == tries or not may_repeat
        try:
            answer: Answer = yield request
        except Unreachable as broken:
            if is_last:
                raise
            yield Pause(pause_before(number), broken, number)
            continue
        if answer.status < 300:
            return answer.data
        error = as_error(answer, asked_for(request))
        if is_last or answer.status not in AGAIN or error.code == NEVER:
            raise error
        seconds = pause_before(number) if error.retry_after is None else error.retry_after
        yield Pause(seconds, error, number)
    raise AssertionError


def create(path: str, json: Any, **fields: Any) -> Request:
    """A POST that may be sent twice, and is carried out once."""
    headers = {KEY: str(uuid4()), **fields.pop("headers", {})}
    return Request("POST", path, json=json, headers=headers, may_repeat=True, **fields)


def pause_before(number: int) -> float:
    """Seconds after the try of this number (1, 2 …), spread so that clients don't come all at once."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (number - 1)) * random.uniform(0.5, 1.0))


def asked_for(request: Request) -> str:
    """The model that a request names, if any."""
    body = request.json if isinstance(request.json, dict) else {}
    named = body.get("version") or body.get("model")
    if isinstance(named, str):
        return named
    return "/".join(request.path.split("/")[3:5]) if request.path.startswith(MODELS) else ""


def as_error(answer: Answer, named: str = "") -> Refused:
    """Of an answer that says no to a request for what is `named`."""
    problem = answer.data if isinstance(answer.data, dict) else {}
    detail = problem.get("detail") if isinstance(answer.data, dict) else answer.text
    sentence = str(detail or "").strip() or f"the server answered {answer.status}"
    if "\n" not in sentence:
        sentence = sentence.removeprefix("- ")  # one problem is a sentence, not a list
    if named and sentence.endswith(NOT_FOUND):
        sentence = f"{sentence.removesuffix('.')}: {named}."
    if answer.status == UNAUTHORIZED and not answer.had_key:
        sentence += " (No key: set LOVAGE_TOKEN.)"
    code = str(problem.get("code") or f"http_{answer.status}")
    return Refused(sentence, code=code, status=answer.status, retry_after=_seconds(answer.headers))


def _seconds(headers: Mapping[str, str]) -> float | None:
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):
        return None
