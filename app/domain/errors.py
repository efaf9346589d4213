"""Every error that a caller can meet, each with a stable code.

    LovageError
    ├── InvalidRequest            the request itself is wrong
    │   ├── InvalidInput          a model's input does not fit its schema (names the fields)
    │   └── PayloadTooLarge
    ├── Unauthenticated           no or bad credentials
    │   └── AccountDisabled       good ones, of an account that an administrator has disabled
    ├── Forbidden                 known caller, missing scope or right
    ├── NotFound                  absent, or somebody else's (no caller learns which)
    ├── Conflict                  it exists already, or the state does not allow it
    │   └── SecretShownOnce       a repeated request whose answer held a secret
    ├── Gone                      it was there; its data has expired
    ├── TooMany                   a limit; `retry_after` seconds
    │   └── QuotaExceeded         as many bytes as one user may have; waiting alone changes nothing
    ├── Unavailable               a part is down; `retry_after` seconds
    │   ├── ModelUnhealthy        every worker that could run the model says that it keeps dying
    │   ├── AnswerLost            the database's answer was lost: what was asked for may be written
    │   │   └── OutcomeUnknown    the same of a prediction, and how to ask for it
    │   └── DatabaseRefused       the database is there and did not carry this out: too slow, too large, full
    └── PredictionError           why a prediction ended as `failed` (its `error` text, never an HTTP error)
        ├── ModelUnavailable      the model could not be fetched or loaded
        ├── ModelFailed           the model raised
        ├── RunTimeout            longer than its limit
        ├── WorkerCrashed         its process died too often
        └── StorageFailed         an output could not be stored

One table in `api/problems.py` maps them to HTTP; this module does not know HTTP.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: dotted path, machine-readable kind, sentence."""

    field: str
    type: str
    description: str


class LovageError(Exception):
    """`detail` is a sentence for the caller; it holds no paths, SQL or traces."""

    code = "error"
    title = "Error"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class InvalidRequest(LovageError):
    code = "invalid_request"
    title = "Invalid request"

    def __init__(self, detail: str, fields: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.fields = fields


class InvalidInput(InvalidRequest):
    """The detail is built from the fields, as Replicate's clients print it."""

    code = "invalid_input"
    title = "Input validation failed"

    def __init__(self, fields: tuple[FieldError, ...]) -> None:
        super().__init__(_lines(fields), fields)


def _lines(fields: Iterable[FieldError]) -> str:
    return "".join(f"- {field.field}: {field.description}\n" for field in fields)


def wrong_field(field: str, sentence: str, kind: str = "value") -> InvalidRequest:
    """One wrong field, named in the detail too. The sentence goes on after the name and has no full stop."""
    return InvalidRequest(f"{field}: {sentence}.", (FieldError(field, kind, sentence),))


def wrong_fields(fields: tuple[FieldError, ...]) -> InvalidRequest:
    """Several, a line each."""
    return InvalidRequest(_lines(fields), fields)


class PayloadTooLarge(InvalidRequest):
    code = "payload_too_large"
    title = "Payload too large"


class Unauthenticated(LovageError):
    code = "unauthenticated"
    title = "Unauthenticated"


class AccountDisabled(Unauthenticated):
    code = "account_disabled"
    title = "Account disabled"

    def __init__(self) -> None:
        super().__init__("This account is disabled. Ask an administrator of this server.")


class Forbidden(LovageError):
    code = "forbidden"
    title = "Forbidden"


class NotFound(LovageError):
    code = "not_found"
    title = "Not found"


class Conflict(LovageError):
    code = "conflict"
    title = "Conflict"


class SecretShownOnce(Conflict):
    code = "secret_shown_once"


class Gone(LovageError):
    code = "gone"
    title = "Gone"


class TooMany(LovageError):
    code = "too_many_requests"
    title = "Too many requests"


class QuotaExceeded(TooMany):
    code = "quota_exceeded"
    title = "Quota exceeded"


class Unavailable(LovageError):
    code = "unavailable"
    title = "Service unavailable"


class ModelUnhealthy(Unavailable):
    code = "model_unhealthy"
    title = "Model unhealthy"


class AnswerLost(Unavailable):
    """The statement was sent, and nobody knows what became of it."""

    code = "outcome_unknown"
    title = "Outcome unknown"


class OutcomeUnknown(AnswerLost):
    """Of a new prediction. `has_key`: it has an Idempotency-Key; without one it is canceled if it exists."""

    def __init__(self, prediction_id: str, *, has_key: bool) -> None:
        with_key = "Send the same request again with the same Idempotency-Key: it finds the prediction."
        without = f"If it is, it is canceled: send the request again. See /v1/predictions/{prediction_id}."
        known = with_key if has_key else without
        super().__init__(
            f"The database's answer was lost: it is not known whether prediction {prediction_id} is recorded."
            f" {known}",
            retry_after=2,
        )


class DatabaseRefused(Unavailable):
    """Nothing of what was asked for was written. `may_pass`: later, or alone, the same may go well; else it
    never will."""

    code = "database_refused"
    title = "Database refused"

    def __init__(self, detail: str, *, may_pass: bool) -> None:
        super().__init__(detail, retry_after=2)
        self.may_pass = may_pass


class PredictionError(LovageError):
    """Why a prediction failed."""

    code = "prediction_failed"
    title = "Prediction failed"


class ModelUnavailable(PredictionError):
    code = "model_unavailable"


class ModelFailed(PredictionError):
    code = "model_failed"


class RunTimeout(PredictionError):
    code = "run_timeout"


class WorkerCrashed(PredictionError):
    code = "worker_crashed"


class StorageFailed(PredictionError):
    code = "storage_error"
