"""A prediction's states and its identifier. Knows no database and no clock."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

# Crockford's base 32 in lower case: no i, l, o, u. A prediction id is 48 bits of milliseconds and 80 random
# bits.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH, TIME_LENGTH = 26, 10
PAIRS = [high + low for high in ALPHABET for low in ALPHABET]  # the digits of ten bits
SHIFTS = range(5 * ID_LENGTH - 10, -1, -10)


class Status(StrEnum):
    """The wire values of Replicate's HTTP API. A prediction moves `starting -> processing -> succeeded |
    failed | canceled`, from `starting` to an end at once when it is canceled, and back from `processing` to
    `starting` by recovery alone: its worker died or handed it back. The statements of app/db hold it to that.
    """

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED})


def new_id(milliseconds: int) -> str:
    """A fresh identifier: 26 characters, sorts by time (ULID's layout, in lower case).

    `milliseconds` is Unix time. Two ids of one millisecond sort at random.
    """
    return _id_of((milliseconds << 80) | secrets.randbits(80))


def lowest_id(milliseconds: int) -> str:
    """What no id made at that Unix time or later sorts before."""
    return _id_of(milliseconds << 80)


def _id_of(number: int) -> str:
    return "".join([PAIRS[number >> shift & 1023] for shift in SHIFTS])


def accepted_at(prediction_id: str) -> float:
    """Unix time, to the millisecond, that an identifier was made at."""
    number = 0
    for letter in prediction_id[:TIME_LENGTH]:
        number = number * 32 + ALPHABET.index(letter)
    return number / 1_000


def is_id(text: str) -> bool:
    """Whether a string has the form of a prediction id; anything else is not worth a query."""
    return len(text) == ID_LENGTH and all(c in ALPHABET for c in text)


def retry_delay(crashes: int) -> float:
    """Seconds to wait before the next attempt after `crashes` deaths: 0, 1, 4, 9 … at most 60.

    The first retry is at once: most deaths are of the worker, not of the input.
    """
    return float(min(60, (max(crashes, 1) - 1) ** 2))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prediction that waits, as who claims sees it: `priority` is its band (app/domain/priorities.py),
    `seconds` for how long it has waited."""

    id: str
    version_id: str
    user_id: UUID | None = None
    priority: int = 1
    seconds: float = 0.0


# Keys of `routing` that came with the request, or that are about what was asked; the others are the routing
# policy's.
ASKED = ("deployment", "on_disconnect", "priority", "warnings", "request_id")
# What the request said about its backends (app/domain/request_routing.py).
REQUESTED = "requested"
# For the processes that a prediction comes by.
HIDDEN = ("traceparent", "base_url")
# Another key: what a response of the Responses API is shown by, beside the input. Predictions do not show it.
RESPONSE = "response"
# The source of those whose callers call a worker itself: another worker's answer would reach nobody.
DIRECT = "grpc"


@dataclass(slots=True)
class Prediction:
    """A prediction as read from its row: what the wire object, the webhook body and the worker are made from.

    `output` may hold `{"$file": storage key}` objects; `services/predictions/prediction_view.py` turns them
    into signed URLs. Whenever `generation` has grown, it has begun anew. `left_out` names values that were
    not read, because they are long and others were read with them. What `input_key` and `output_key` name is
    in the storage: `input` then holds its short properties only, `output` facts about it
    (services/predictions/stored_values.py). `priority` is the band that it waits in
    (app/domain/priorities.py). `progress` is None until its model has begun it, as far as that is written,
    and empty of a model that counts no steps. `routing` is how it was accepted: the queue and why, and
    what was asked beside the input (ASKED).
    """

    id: str
    user_id: UUID | None
    version_id: str
    model: str
    status: Status
    queue: str
    created_at: datetime
    input: dict[str, Any] | None = None
    output: Any = None
    error: str | None = None
    error_code: str | None = None
    logs: str = ""
    progress: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    source: str = "api"
    attempt: int = 0
    generation: int = 0
    crashes: int = 0
    worker: UUID | None = None
    cancel_requested: bool = False
    deadline: datetime | None = None
    timeout: float | None = None
    webhook: str | None = None
    webhook_events: list[str] | None = None
    routing: dict[str, Any] | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    data_removed_at: datetime | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    input_key: str | None = None
    output_key: str | None = None
    priority: int = 1
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its long values, as far as they are known."""
        return (self.input_bytes or 0) + (self.output_bytes or 0) + len(self.logs)

    @property
    def not_here(self) -> tuple[str, ...]:
        """Names of the values that this object does not hold, or not wholly."""
        if self.data_removed_at is not None or not (self.input_key or self.output_key):
            return self.left_out
        stored = {"input": self.input_key, "output": self.output_key}
        return self.left_out or tuple(name for name, key in stored.items() if key)

    @property
    def deployment(self) -> str | None:
        """`owner/name` of the deployment that it was made with."""
        return (self.routing or {}).get("deployment")

    @property
    def request_id(self) -> str | None:
        """Of the request that made it: in the log of every process that has to do with it."""
        return (self.routing or {}).get("request_id")

    @property
    def traceparent(self) -> str | None:
        """The context of its trace, where there is one."""
        return (self.routing or {}).get("traceparent")

    @property
    def base_url(self) -> str:
        """How its caller reached the API, if it has a webhook whose body must say so; else empty."""
        return (self.routing or {}).get("base_url") or ""

    @property
    def warnings(self) -> list[str]:
        """What was said to its caller when it was accepted."""
        return (self.routing or {}).get("warnings") or []

    @property
    def log_names(self) -> dict[str, str]:
        """What a line of a log about it says of which one it is."""
        request_id = self.request_id
        return {"prediction": self.id, "request_id": request_id} if request_id else {"prediction": self.id}

    @property
    def stops_without_readers(self) -> bool:
        """Whether it is to be canceled when the last reader of its stream has left (`on_disconnect:
        cancel`)."""
        return (self.routing or {}).get("on_disconnect") == "cancel"

    @property
    def shown_status(self) -> Status:
        """As its callers see it: `starting` until its model has begun it, though a worker has claimed it."""
        is_claimed_only = self.status is Status.PROCESSING and self.progress is None
        return Status.STARTING if is_claimed_only else self.status

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self.status in TERMINAL
