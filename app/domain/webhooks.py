"""The rules of webhooks: which events are sent, when a delivery is tried again, what an answer means.
Pure."""

from collections.abc import Sequence

DEFAULT_EVENTS = ("output", "completed")  # as Replicate, when no filter is given

# Seconds before the 2nd, 3rd, … try. The end of a prediction is worth a day of trying (Standard Webhooks'
# schedule, with a quick second try); events of a running one are stale after seconds.
SCHEDULE = {
    "completed": (5, 30, 300, 1800, 7200, 18_000, 36_000, 36_000),
    "start": (2, 10, 60),
    "output": (2,),
    "logs": (2,),
}
LONGEST_WAIT = 86_400.0
EVENTS_OF_ATTEMPT = 100_000  # an attempt's events of output and logs are numbered from this times its number
GONE = 410
SLOW_DOWN = frozenset({429, 502, 503, 504})


def wants(chosen: Sequence[str] | None, event: str) -> bool:
    """Whether a prediction with this `webhook_events_filter` (None or empty: the default) is to send
    `event`."""
    return event in (chosen or DEFAULT_EVENTS)


def delivery_id(prediction_id: str, event: str, number: int = 0) -> str:
    """The webhook-id: the same over all tries. There is one start and one completed; the others are
    numbered."""
    once = event in ("start", "completed")
    return f"msg_{prediction_id}_{event}" + ("" if once else f"_{number}")


def is_delivered(status: int | None) -> bool:
    """Only 2xx counts; a redirect is a failure and never followed."""
    return status is not None and 200 <= status < 300


def next_delay(
    schedule: Sequence[float],
    tries: int,
    status: int | None,
    retry_after: float | None = None,
    jitter: float = 0.0,
) -> float | None:
    """Seconds until the next try after `tries` failed ones, or None to give up. `jitter` in [-1, 1] spreads
    by 20 %.

    410 means that the receiver wants no more. `retry_after` is honoured when the receiver asks to slow down.
    """
    if status == GONE or tries > len(schedule):
        return None
    delay = schedule[tries - 1] * (1 + 0.2 * jitter)
    if retry_after is not None and status in SLOW_DOWN:
        delay = max(delay, min(retry_after, LONGEST_WAIT))
    return delay
