"""Accepting a prediction: checked against its version's input schema, written to Postgres, then published to
a queue.

Knows no HTTP. After the commit the prediction exists; its message may be lost without harm (DESIGN,
principle 1). Requests that arrive while an INSERT runs share the next one (principle 3).
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from uuid import UUID

import orjson

from app.coalesce import Coalescer
from app.db import predictions as table
from app.db.session import Database
from app.domain.errors import AnswerLost, DatabaseRefused, OutcomeUnknown, StorageFailed
from app.domain.predictions import REQUESTED, RESPONSE, Prediction, new_id
from app.domain.priorities import Priority
from app.domain.request_routing import RequestRouting
from app.domain.routing import Choice
from app.domain.versions import RunnableVersion
from app.json_text import JsonText
from app.services.files.own_files import OwnFiles
from app.services.idempotency import other_request
from app.services.predictions.backlog import Backlog
from app.services.predictions.input_check import InputChecker
from app.services.predictions.late_inserts import LateInserts
from app.services.predictions.lost_inserts import LostInserts
from app.services.predictions.stored_values import (
    SplitInput,
    StoredValues,
    group_by_shared,
    input_key,
    split_input,
    split_inputs,
)

Answer = TypeVar("Answer")
# Calls something, with arguments, beside the event loop and one at a time.
RunLarge = Callable[..., Awaitable[Any]]
# Makes a prediction that runs from now on of its row's values and its input.
Begin = Callable[[Mapping[str, Any], dict[str, Any]], Prediction]
LARGE = 100_000  # bytes of a body; what is larger may take a second to be looked through
LARGEST_SEED = 2**32 - 1  # what every generator takes
INSERT_LIMIT = 128  # rows of one INSERT; more gain nothing and hold the others' answers back
ROW_BYTES = 1_000  # of a row beside its input
MOST_WARNINGS = 20
STORED_AT_ONCE = 4  # long inputs that are being stored: a slow storage holds up no thread that others need


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to be inserted, with its input as it was checked. `size` of the row in bytes; `is_begun`: it runs
    already."""

    values: dict[str, Any]
    input: dict[str, Any]
    size: int
    is_begun: bool = False

    @property
    def has_key(self) -> bool:
        """Whether the same request, sent again, finds it."""
        return self.values["idempotency_key"] is not None


@dataclass(frozen=True, slots=True)
class Submission:
    """One request for a prediction, its caller and model already known to be allowed.

    `cancel_after` and `timeout` are in seconds: from acceptance, and of running; the version has a limit of
    its own.
    """

    user_id: UUID | None
    version: RunnableVersion
    input: dict[str, Any]
    webhook: str | None = None
    webhook_events: list[str] | None = None
    cancel_after: float | None = None
    timeout: float | None = None
    idempotency_key: str | None = None
    source: str = "api"
    deployment: str | None = None
    device: str = ""  # a device class that the deployment wants, if the version does not say
    stop_without_readers: bool = False
    drops_unknown: bool = False  # inputs that the model does not have are left out, and named in `warnings`
    response: Mapping[str, Any] | None = None  # kept for whoever shows it as a response
    request_id: str | None = None  # of the request that it came with
    traceparent: str | None = None  # of its trace, where there is one
    base_url: str | None = None  # how its caller reached the API, for the links in a webhook's body
    priority: Priority = Priority.DEFAULT
    routing: RequestRouting | None = None
    size: int = 0  # bytes of the body it came in, roughly: what is large is checked beside the event loop

    def requested(self) -> dict[str, Any]:
        """What is kept in `routing` beside the policy's choice."""
        came = {"request_id": self.request_id, "traceparent": self.traceparent}
        kept = {**self._wishes(), **came, "base_url": self.webhook and self.base_url}
        return {name: value for name, value in kept.items() if value}

    def _wishes(self) -> dict[str, Any]:
        return {
            "deployment": self.deployment,
            "on_disconnect": "cancel" if self.stop_without_readers else None,
            RESPONSE: self.response,
            REQUESTED: self.routing and self.routing.as_json(),
            "priority": None if self.priority is Priority.DEFAULT else self.priority.word,
        }

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the request: the same key with another body is refused by it."""
        request: list[Any] = [
            self.version.id,
            self.input,
            self.webhook,
            self.webhook_events,
            self.cancel_after,
            self.timeout,
        ]
        wishes = {name: value for name, value in self._wishes().items() if value}
        request += [wishes] if wishes else []
        return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Accepting(Protocol):
    """Who writes new predictions: Lifecycle, or a worker that runs them at once."""

    def accept(self, rows: Sequence[dict[str, Any]]) -> dict[str, Prediction]: ...

    def cancel(self, ids: Sequence[str], reason: str | None = None) -> dict[str, Prediction]: ...


class Routing(Protocol):
    """Who chooses their queues: the Fleet, or a worker for itself."""

    async def route(self, version: str, config: dict[str, Any]) -> Choice: ...


class Submitter:
    """One for each process that accepts predictions."""

    def __init__(
        self,
        database: Database,
        lifecycle: Accepting,
        checker: InputChecker,
        own_files: OwnFiles,
        fleet: Routing,
        backlog: Backlog,
        stored: StoredValues,
        threads: Executor,
        run_large: RunLarge,
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._checker, self._own_files = checker, own_files
        self._fleet, self._backlog = fleet, backlog
        self._stored, self._threads = stored, threads
        self._run_large = run_large
        self._writers = ThreadPoolExecutor(STORED_AT_ONCE, thread_name_prefix="inputs")
        self._lost = LostInserts(lifecycle, threads)
        self._insert: Coalescer[NewRow, Prediction | OutcomeUnknown | None] = Coalescer(
            self._insert_group,
            limit=INSERT_LIMIT,
            lanes=2,
            size_of=lambda row: row.size,
            halve_on=(DatabaseRefused,),
        )
        self._late = LateInserts(self._insert)

    async def submit(self, submission: Submission) -> Prediction:
        """Checks, writes, notifies. The same idempotency key and body give the prediction that exists
        already.

        Raises InvalidInput naming the fields, InvalidRequest for a key used with another body,
        TooManyWaiting, QuotaExceeded, Unavailable, ModelUnhealthy, StorageFailed.
        """
        row, stored = await self._checked_row(submission)
        return await self._write(submission, row, stored)

    async def submit_begun(
        self, submission: Submission, begin: Begin
    ) -> tuple[Prediction, "asyncio.Future[bool] | None"]:
        """As `submit`, for one that runs from now on; the future: whether it was written. None: it is."""
        row, stored = await self._checked_row(submission)
        if stored is not None:
            return await self._write(submission, row, stored), None
        begun = begin(row.values, row.input)
        return begun, self._late.add(replace(row, is_begun=True), begun.id)

    async def _checked_row(self, submission: Submission) -> tuple[NewRow, JsonText | None]:
        """The row, and the long part of its input."""
        dropped: list[str] | None = [] if submission.drops_unknown else None
        check = self._checker.check_for(submission.version, dropped)

        def check_and_split() -> tuple[dict[str, Any], SplitInput]:
            checked = check(submission.input)
            draw_seed(submission.version.input_schema, checked)
            return checked, split_input(checked)

        checked, parts = await self._run(submission.size, check_and_split)
        await self._own_files.check(submission.user_id, submission.version.input_schema, checked)
        self._backlog.admit(submission.user_id, parts.size)
        row = await self._row(submission, checked, parts)
        if dropped:
            row.values["routing"]["warnings"] = warnings_of(dropped)
        return row, parts.stored

    async def _write(self, submission: Submission, row: NewRow, stored: JsonText | None) -> Prediction:
        if stored is None:
            created: Prediction | BaseException | None = await self._insert(row)
        else:
            [created] = await self._insert_all([row], stored)
        if isinstance(created, BaseException):
            raise created
        return created or await self._existing(submission)

    async def submit_all(self, submissions: Sequence[Submission]) -> list[Prediction | BaseException]:
        """The same for several of one call, without idempotency keys; of each its prediction, or why there is
        none. What their inputs share (the very same objects) is written down once. Raises what `submit`
        raises before anything is written."""
        size = max(submission.size for submission in submissions)
        checks = [self._checker.check_for(submission.version) for submission in submissions]
        pairs = list(zip(checks, submissions, strict=True))
        checked = await self._run(size, lambda: [check(submission.input) for check, submission in pairs])
        for submission, values in zip(submissions, checked, strict=True):
            draw_seed(submission.version.input_schema, values)
            await self._own_files.check(submission.user_id, submission.version.input_schema, values)
        for submission in submissions:
            self._backlog.admit(submission.user_id, submission.size)
        groups = group_by_shared([submission.input for submission in submissions])
        created = await asyncio.gather(
            *(
                self._submit_group([(submissions[number], checked[number]) for number in numbers], shared)
                for numbers, shared in groups
            ),
        )
        outcomes: dict[int, Prediction | BaseException] = {}
        for (numbers, _), group in zip(groups, created, strict=True):
            outcomes |= zip(numbers, group, strict=True)
        return [outcomes[number] for number in range(len(submissions))]

    async def _submit_group(
        self, group: list[tuple[Submission, dict[str, Any]]], shared: frozenset[str]
    ) -> Sequence[Prediction | BaseException]:
        inputs = [checked for _, checked in group]
        parts = await self._run(group[0][0].size, split_inputs, inputs, shared)
        rows = [
            await self._row(submission, checked, part)
            for (submission, checked), part in zip(group, parts, strict=True)
        ]
        try:
            created = await self._insert_all(rows, parts[0].stored)
        except StorageFailed as error:
            return [error] * len(group)
        return [each or KeyError("an insert without an idempotency key returned no row") for each in created]

    async def _run(self, size: int, function: Callable[..., Answer], *args: Any) -> Answer:
        """Beside the event loop, where the body is so large that it could take long."""
        answer: Answer = function(*args) if size <= LARGE else await self._run_large(function, *args)
        return answer

    async def _row(self, submission: Submission, checked: dict[str, Any], parts: SplitInput) -> NewRow:
        version = submission.version
        wish = {"device": submission.device} if submission.device else {}
        choice = await self._fleet.route(version.id, {**wish, **version.config})
        values = {
            "id": new_id(time.time_ns() // 1_000_000),
            "user_id": submission.user_id,
            "version_id": version.id,
            "model": version.model,
            "queue": choice.queue,
            "priority": submission.priority,
            "routing": {**choice.as_json(), **submission.requested()},
            "source": submission.source,
            "input": parts.rest.fragment,
            "input_bytes": parts.size,
            "input_key": None,
            "stream": version.streams,
            "cancel_after": submission.cancel_after,
            "timeout": submission.timeout,
            "webhook": submission.webhook,
            "webhook_events": submission.webhook_events,
            "idempotency_key": submission.idempotency_key,
            "request_hash": submission.fingerprint() if submission.idempotency_key else None,
        }
        shown = parts.rest.value() if parts.stored else checked
        return NewRow(values, shown, len(parts.rest) + ROW_BYTES)

    async def _insert_all(
        self, rows: list[NewRow], stored: JsonText | None
    ) -> list[Prediction | BaseException | None]:
        """`stored`, the long part of their inputs, is written first, and deleted again when it is certain
        that no row names it. Raises StorageFailed."""
        if stored is None:
            return list(await asyncio.gather(*map(self._insert, rows), return_exceptions=True))
        key = input_key(rows[0].values["id"])
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writers, self._stored.put, key, stored)
        for row in rows:
            row.values["input_key"] = key
        created = await asyncio.gather(*map(self._insert, rows), return_exceptions=True)
        if all(each is None or isinstance(each, DatabaseRefused) for each in created):
            loop.run_in_executor(self._writers, self._stored.delete, [key])
        return list(created)

    async def _insert_group(self, rows: list[NewRow]) -> Sequence[Prediction | OutcomeUnknown | None]:
        try:
            created = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._lifecycle.accept, [row.values for row in rows]
            )
        except AnswerLost:
            self._lost.cancel([row.values["id"] for row in rows if not row.has_key and not row.is_begun])
            return [OutcomeUnknown(row.values["id"], has_key=row.has_key) for row in rows]
        for row in rows:
            if prediction := created.get(row.values["id"]):
                prediction.input, prediction.left_out = row.input, ()  # it was not sent back
        return [created.get(row.values["id"]) for row in rows]

    async def _existing(self, submission: Submission) -> Prediction:
        user, key = submission.user_id, submission.idempotency_key
        if user is None or key is None:
            raise RuntimeError("an insert without an idempotency key returned no row")

        def look() -> tuple[Prediction, str | None]:
            with self._database.unit() as session:
                return table.by_idempotency_key(session, [(user, key)])[(user, key)]

        prediction, request_hash = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        if request_hash != submission.fingerprint():
            raise other_request()
        return prediction

    async def close(self) -> None:
        """Waits for the inserts under way."""
        await self._late.close()
        await self._insert.close()
        self._lost.close()
        self._writers.shutdown(wait=True)


def warnings_of(dropped: Sequence[str]) -> list[str]:
    """What is said of inputs that were left out."""
    shown = [name[:100].replace("\x00", "") for name in dropped[:MOST_WARNINGS]]
    more = [f"{len(dropped) - MOST_WARNINGS} more were left out."] if len(dropped) > MOST_WARNINGS else []
    return [f"input.{name} is not an input of this model: it was left out." for name in shown] + more


def draw_seed(schema: dict[str, Any], values: dict[str, Any]) -> None:
    """Fills a `seed` that is left to chance in, once for all attempts: each of them makes the same output."""
    field = schema.get("properties", {}).get("seed")
    if field is None or values.get("seed") is not None or field.get("type") != "integer" or "enum" in field:
        return
    least, most = max(field.get("minimum", 0), 0), min(field.get("maximum", LARGEST_SEED), LARGEST_SEED)
    if least <= most:
        values["seed"] = random.randint(int(least), int(most))
