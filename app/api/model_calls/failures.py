"""Why a call of a model has no answer, in words that any edge can put into its own shape of errors."""

from app.api.problems import SERVER_FAULT, status_of
from app.domain.errors import (
    InvalidInput,
    InvalidRequest,
    LovageError,
    NotFound,
    PayloadTooLarge,
    wrong_field,
)
from app.domain.predictions import Prediction, Status

# What our inputs are called in requests.
PARAMS = {
    "max_new_tokens": "max_tokens",
    "num_images": "n",
    "text": "input",
    "texts": "documents",
    "width": "size",
    "height": "size",
    "json_schema": "response_format",
}
MOST_FIELDS = 5  # of one request that are named


class NoModel(NotFound):
    """The model is not there, or not the caller's."""


class RunFailed(LovageError):
    """A prediction that did not succeed. `param`: the field that its input's fault is in, if it is known."""

    def __init__(self, status: int, message: str, code: str | None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.failure = code
        self.param = param


def refused(param: str, sentence: str) -> InvalidRequest:
    """A parameter that is not supported here, named."""
    return wrong_field(param, sentence, "unsupported")


def failure_of(prediction: Prediction) -> RunFailed:
    """Why a prediction that has ended has no answer."""
    if prediction.status is Status.CANCELED:
        return RunFailed(500, prediction.error or "The prediction was canceled.", "canceled")
    sentence, code = prediction.error or "The prediction failed.", prediction.error_code
    status = {"invalid_input": 400, "model_unavailable": 503}.get(code or "", 500)
    name = sentence.partition(":")[0]
    is_named = code == "invalid_input" and name.isidentifier()
    return RunFailed(status, sentence, code, PARAMS.get(name, name) if is_named else None)


def status_for(error: LovageError) -> int:
    """As on the native routes, but what is wrong with a request is a 400."""
    if isinstance(error, RunFailed):
        return error.status
    status = status_of(error)
    return 400 if isinstance(error, InvalidRequest) and not isinstance(error, PayloadTooLarge) else status


def sentence_of(error: LovageError) -> str:
    """What is wrong in one line, with the names that requests have."""
    if status_for(error) == 500 and error.code == "error" and not isinstance(error, RunFailed):
        return SERVER_FAULT
    if not isinstance(error, InvalidRequest) or not error.fields:
        return error.detail.strip()
    named = zip(names_of(error), error.fields, strict=True)
    sentences = (f"{name}: {field.description}" for name, field in named)
    return "; ".join(list(dict.fromkeys(sentences))[:MOST_FIELDS]) + "."


def names_of(error: LovageError) -> list[str]:
    """The fields of an error as requests name them; those of a model's input come as `input.…`."""
    if isinstance(error, RunFailed):
        return [error.param] if error.param else []
    names = [field.field for field in error.fields] if isinstance(error, InvalidRequest) else []
    if not isinstance(error, InvalidInput):
        return names
    parts = (name.removeprefix("input.").partition(".") for name in names)
    return [PARAMS.get(first, first) + dot + rest for first, dot, rest in parts]


def code_of(error: LovageError) -> str | None:
    """A stable code, where there is one beside the status."""
    if isinstance(error, NoModel):
        return "model_not_found"
    return error.failure if isinstance(error, RunFailed) else None
