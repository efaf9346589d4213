"""Acts on many predictions of one user at once: cancel them, run them again, see what failed alike. Knows no
HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from app.byte_budget import ByteBudget
from app.db import prediction_groups, predictions
from app.db.prediction_lists import Filter
from app.db.session import Database
from app.domain.errors import Gone, LovageError
from app.domain.predictions import Prediction, Status, lowest_id
from app.domain.priorities import Priority
from app.domain.request_routing import RequestRouting
from app.domain.statistics import ErrorGroup
from app.services.catalogue.runnable import Runnables
from app.services.people.access import Principal
from app.services.predictions.follow import REMOVED, with_data
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.submit import Submission, Submitter
from app.services.predictions.user_cancels import UserCancels

T = TypeVar("T")
MOST = 1_000  # predictions of one act
SIDE_BY_SIDE = 64  # submissions at once: they share INSERTs, and other callers are not kept waiting
AT_ONCE_BYTES = 32_000_000  # of long inputs that are submitted at once


@dataclass(frozen=True, slots=True)
class Selection:
    """Which predictions of a user: those with these ids, or all that the filters let through; above the id
    `after`."""

    user_id: UUID
    ids: list[str] | None = None
    status: Status | None = None
    model: str | None = None
    error_group: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    after: str = ""

    def as_filter(self) -> Filter:
        """For the query."""
        names = set(self.__slots__) & set(Filter.__slots__)
        return Filter(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Rerun:
    """What became of running one prediction again: a new one, or why there is none."""

    of: str
    created: Prediction | None = None
    error: LovageError | None = None


@dataclass(slots=True)
class BulkResult:
    """`next`: where to go on when there are more than MOST; None at the end."""

    canceled: list[str] = field(default_factory=list)
    reruns: list[Rerun] = field(default_factory=list)
    next: str | None = None


class Bulk:
    """One for each API process. `of_users`: what administrators cancel."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        submitter: Submitter,
        runnables: Runnables,
        stored: StoredValues,
        threads: Executor,
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self.of_users = UserCancels(database, lifecycle)
        self._submitter, self._runnables = submitter, runnables
        self._stored, self._budget = stored, ByteBudget(AT_ONCE_BYTES)
        self._threads = threads

    async def cancel(self, selection: Selection) -> BulkResult:
        """Cancels what has not ended; the running ones stop at their next step."""
        ids, following = await self._select(selection, ended=False)
        if ids:
            await self._in_thread(lambda: self._lifecycle.cancel(ids))
        return BulkResult(canceled=ids, next=following)

    async def rerun(
        self, principal: Principal, selection: Selection, count: Callable[[], None], request_id: str
    ) -> BulkResult:
        """Makes a new prediction of each that has ended, with its input and version. `count` is called
        before each and may raise TooMany."""
        chosen, following = await self._select(selection, ended=True)
        reruns: list[Rerun] = []
        for start in range(0, len(chosen), SIDE_BY_SIDE):
            part = await self._read(chosen[start : start + SIDE_BY_SIDE])
            reruns += await asyncio.gather(
                *(self._again(principal, each, count, request_id) for each in part)
            )
        return BulkResult(reruns=reruns, next=following)

    async def _again(
        self, principal: Principal, prediction: Prediction, count: Callable[[], None], request_id: str
    ) -> Rerun:
        try:
            with_data(prediction)
            count()
            version = await self._runnables.get(principal, prediction.version_id)
            async with self._input_of(prediction) as values:
                submission = Submission(
                    user_id=prediction.user_id,
                    version=version,
                    input=values,
                    webhook=prediction.webhook,
                    webhook_events=prediction.webhook_events,
                    timeout=prediction.timeout,
                    base_url=prediction.base_url,
                    request_id=request_id,
                    priority=max(Priority(prediction.priority), principal.highest_priority),
                    routing=RequestRouting.from_prediction(prediction),
                    size=prediction.input_bytes or 0,
                )
                return Rerun(prediction.id, await self._submitter.submit(submission))
        except LovageError as error:
            return Rerun(prediction.id, error=error)

    @asynccontextmanager
    async def _input_of(self, prediction: Prediction) -> AsyncIterator[dict[str, Any]]:
        """What it was called with, wherever that is; a long one counts as held until the block ends. Raises
        Gone, StorageFailed."""
        if "input" not in prediction.not_here:
            yield prediction.input or {}
            return

        def read() -> dict[str, Any]:
            with self._database.unit() as session:
                rest = predictions.inputs(session, [prediction.id])[prediction.id]
            if rest is None:
                raise Gone(REMOVED)
            return self._stored.whole_input(rest, prediction.input_key)

        async with self._budget.hold(prediction.input_bytes or 0):
            yield await self._in_thread(read)

    async def _read(self, ids: list[str]) -> list[Prediction]:
        def read() -> list[Prediction]:
            with self._database.unit() as session:
                return list(predictions.get(session, ids).values())

        return await self._in_thread(read)

    async def _select(self, selection: Selection, *, ended: bool) -> tuple[list[str], str | None]:
        def read() -> list[str]:
            with self._database.unit() as session:
                return prediction_groups.select_ids(
                    session,
                    selection.as_filter(),
                    ids=selection.ids,
                    ended=ended,
                    after=selection.after,
                    limit=MOST + 1,
                )

        ids = await self._in_thread(read)
        return ids[:MOST], ids[MOST - 1] if len(ids) > MOST else None

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def error_groups(
        self, principal: Principal, seconds: float, model: str | None = None
    ) -> list[ErrorGroup]:
        """The caller's failures of the last `seconds`, grouped by what went wrong. Blocks."""
        user_id = principal.need_user()
        # What ended in the window may have been accepted long before it; a day is more than anything waits.
        least = lowest_id(max(0, int((time.time() - seconds - 86_400) * 1000)))
        with self._database.unit() as session:
            return prediction_groups.error_groups(session, user_id, seconds=seconds, least=least, model=model)
