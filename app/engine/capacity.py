"""How many work items of a version a worker holds at once: arithmetic alone. Knows no lock, clock or
process."""

from collections import Counter
from collections.abc import Collection, Mapping

from app.engine.batch_policy import LOOK_AHEAD, Limits

DEFAULT_BATCH_SIZE = Limits().size
# Two batches' worth of a version: one runs, one waits. Of a quick one more, up to what runs in so many
# seconds: batches are cut from what waits, and a larger choice means less padding (windows of 128 lose 15 %,
# 512 5 %).
BATCHES_ADMITTED = 2
BATCHES_OF_QUICK = LOOK_AHEAD
ADMITTED_SECONDS = 2.0
# The limit of a version that this worker has never run.
UNMEASURED = BATCHES_ADMITTED * DEFAULT_BATCH_SIZE
CLOSED = -1
# How much the newest item counts in the mean of the seconds that one takes.
PACE_SHARE = 0.1


def admissible(batch_size: int, pace: float) -> int:
    """How many items of a version a worker holds at most, by the seconds that one takes (0: not known)."""
    in_time = int(ADMITTED_SECONDS / pace) if pace > 0 else 0
    return max(BATCHES_ADMITTED * batch_size, min(BATCHES_OF_QUICK * batch_size, in_time))


def left_of(limits: Mapping[str, int], held: Counter[str], closed: Collection[str] = ()) -> dict[str, int]:
    """How many more of each version a worker takes that holds some; CLOSED: not even of a user of whom it has
    none, as for those that are `closed` just now."""
    left = {}
    for version in limits.keys() | held.keys():
        limit = limits.get(version, UNMEASURED)
        left[version] = max(0, limit - held[version]) if limit > 0 else CLOSED
    return left | dict.fromkeys(closed, CLOSED)


def next_pace(pace: float, run_seconds: float, batch_size: int) -> float:
    """The moving mean of seconds per item (0: none has finished yet), after one more of a batch of this
    size."""
    seconds = run_seconds / max(1, batch_size)
    return pace + (PACE_SHARE if pace else 1.0) * (seconds - pace)
