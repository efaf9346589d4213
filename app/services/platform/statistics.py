"""Minutes of statistics and days of usage: written by the sweep, read by charts. Knows no HTTP. Calls
block."""

import time
from dataclasses import dataclass

from app.db import queue_counts, queue_lanes, statistics, sweeps
from app.db.session import Database
from app.domain.errors import Forbidden
from app.domain.statistics import Lane, Point, UsageDay, points
from app.services.people.access import Principal

MOST_WAITING = 100_000  # counted for a chart
MOST_USAGE_ROWS = 10_000
STEPS = (60, 120, 300, 600, 900)  # seconds of a point
MOST_POINTS = 360
LONGEST_WINDOW = 48 * 3_600  # seconds


@dataclass(frozen=True, slots=True)
class Series:
    """Points of `step` seconds each, oldest first; the last one is over."""

    step: int
    points: list[Point]


def record_minutes(database: Database) -> None:
    """Writes the minutes that are over and not written, unless another process is at it."""
    with database.unit() as session:
        if (due := statistics.due_minutes(session)) is None:
            return
        if not sweeps.lock_sweep(session, sweeps.STATISTICS_KEY):
            return
        waiting = queue_counts.waiting(session, MOST_WAITING)
        running = queue_counts.running(session)
        statistics.write_minutes(session, *due, waiting=waiting, running=running)


class Statistics:
    """One for each API process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def series(self, principal: Principal, seconds: float, model: str | None = None) -> Series:
        """The last `seconds`: of everybody's predictions for operators, else of the caller's own. What waits
        and runs is of all."""
        own = None if principal.is_operator else principal.need_user()
        step = next((step for step in STEPS if seconds / step <= MOST_POINTS), STEPS[-1])
        until = int(time.time()) // step * step
        since = until - max(1, round(seconds / step)) * step
        with self._database.unit() as session:
            minutes = statistics.minutes(session, since, until, user_id=own, model=model)
            queue = statistics.queue_minutes(session, since, until)
        return Series(step, points(minutes, queue, since, until, step))

    def lanes(self, principal: Principal) -> tuple[list[Lane], bool]:
        """What waits, by queue, model and user; and whether all of it was counted. Raises Forbidden unless
        an operator asks."""
        principal.need_operator("see what waits of others")
        with self._database.unit() as session:
            return queue_lanes.lanes(session)

    def usage(self, principal: Principal, days: int, *, everybody: bool = False) -> list[UsageDay]:
        """Days of the caller's usage, or of everybody's. Raises Forbidden unless an operator asks for
        that."""
        if everybody and not principal.is_operator:
            raise Forbidden("Only administrators can see everybody's usage.")
        own = None if everybody else principal.need_user()
        with self._database.unit() as session:
            return statistics.usage(session, days, user_id=own, most=MOST_USAGE_ROWS)
