"""What becomes of a prediction whose call to a backend failed: a pure function. Knows no clock."""

from dataclasses import dataclass
from enum import Enum, auto

from app.domain.errors import ModelFailed, ModelUnavailable
from app.domain.work import Failed

RETRY_FOR_SECONDS = 30.0  # from the first call of a prediction to the beginning of its last
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
MOST_RESTARTS = 1  # after readers have had a part of the output, on another backend
INVALID_INPUT = "invalid_input"


class Fault(Enum):
    """Whose fault it is. INPUT: the prediction's, everywhere. MODEL: the model ran there, and failed. BUSY:
    the backend asks to wait. SETUP: its address, credential or model's name is wrong there. BACKEND: it
    failed, hung or answered nonsense."""

    INPUT = auto()
    MODEL = auto()
    BUSY = auto()
    SETUP = auto()
    BACKEND = auto()


class UpstreamFailed(Exception):
    """A call to a backend that has no answer. The sentence goes on after the backend's name."""

    def __init__(self, sentence: str, fault: Fault = Fault.BACKEND, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.fault = sentence, fault
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Tried:
    """What has been done for a prediction. `seconds` since its first call; `calls` made; `has_output`:
    readers have had a part; `restarts`: calls made after that; `others`: whether another backend could have
    it."""

    backend: str
    seconds: float
    calls: int
    has_output: bool = False
    restarts: int = 0
    others: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Call again in so many seconds. `elsewhere`: on another backend, if there is one."""

    wait: float
    elsewhere: bool


def next_step(failure: UpstreamFailed, tried: Tried) -> Retry | Failed:
    """Retried are only calls of which readers have had nothing, until RETRY_FOR_SECONDS are over; one whose
    output was cut goes once to another backend, where it begins anew."""
    sentence = f"backend {tried.backend}: {failure.sentence}"
    if failure.fault is Fault.INPUT:
        return Failed(sentence, INVALID_INPUT)
    if failure.fault is Fault.MODEL:
        return Failed(sentence, ModelFailed.code)
    code = ModelUnavailable.code if not tried.has_output else ModelFailed.code
    if tried.has_output:
        may_restart = tried.others and tried.restarts < MOST_RESTARTS
        return Retry(0.0, elsewhere=True) if may_restart else Failed(sentence, code)
    if failure.fault is Fault.SETUP:  # another try meets the same there
        return Retry(0.0, elsewhere=True) if tried.others and tried.calls < 8 else Failed(sentence, code)
    wait = _wait(failure, tried)
    return Retry(wait, elsewhere=True) if tried.seconds + wait < RETRY_FOR_SECONDS else Failed(sentence, code)


def _wait(failure: UpstreamFailed, tried: Tried) -> float:
    if tried.others:  # they need no rest
        return 0.0
    if failure.retry_after is not None:
        return failure.retry_after
    return float(min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (tried.calls - 1)))
