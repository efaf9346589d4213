"""What goes wrong, as one tree."""

from typing import Any


class LovageError(Exception):
    """`code` is stable: the platform's own (`not_found`, docs/reference/errors.md) or, of a call of a worker,
    gRPC's status in lower case (`resource_exhausted`). `retry_after`: the seconds after which the same call
    may be tried again, where the server said so. `status`: of HTTP, 0 where there was none."""

    def __init__(
        self, sentence: str, *, code: str = "", status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.code, self.status, self.retry_after = code, status, retry_after


class Refused(LovageError):
    """The platform, or a worker, has answered no."""


class Unreachable(LovageError):
    """There was no answer, or it broke off. `was_sent` is False where nobody took the connection."""

    was_sent = True


class WrongCertificate(LovageError):
    """A worker shows another certificate than the platform named."""


class PredictionFailed(LovageError):
    """It failed or was canceled; `prediction` is all of it, `code` its error code."""

    def __init__(self, prediction: Any) -> None:
        super().__init__(
            prediction.error or f"the prediction was {prediction.status}",
            code=prediction.error_code or prediction.status,
        )
        self.prediction = prediction
