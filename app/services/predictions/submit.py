"""Accepting a prediction: checked against its version's input schema, written to Postgres, then published to
a queue.

Knows no HTTP. After the commit the prediction exists; its message may be lost without harm (DESIGN,
principle 1). Requests that arrive while an INSERT runs share the next one (principle 3).
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from app.coalesce import Coalescer
from app.db import predictions as table
from app.db.session import Database
from app.domain.errors import DatabaseRefused
from app.domain.predictions import Prediction, new_id
from app.domain.versions import RunnableVersion
from app.json_text import JsonText
from app.services.files.own_files import OwnFiles
from app.services.idempotency import other_request
from app.services.platform.fleet import Fleet
from app.services.predictions.backlog import Backlog
from app.services.predictions.input_check import InputChecker
from app.services.predictions.lifecycle import Lifecycle

# Calls something, with arguments, beside the event loop and one at a time.
RunLarge = Callable[..., Awaitable[Any]]
LARGE = 100_000  # bytes of a body; what is larger may take a second to be looked through
INSERT_LIMIT = 128  # rows of one INSERT; more gain nothing and hold the others' answers back
ROW_BYTES = 1_000  # of a row beside its input


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to be inserted, and its size in bytes."""

    values: dict[str, Any]
    size: int


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
    size: int = 0  # bytes of the body it came in, roughly: what is large is checked beside the event loop

    def requested(self) -> dict[str, Any]:
        """What is kept in `routing` beside the policy's choice."""
        kept = {
            "deployment": self.deployment,
            "on_disconnect": "cancel" if self.stop_without_readers else None,
        }
        return {name: value for name, value in kept.items() if value}

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
        request += [more] if (more := self.requested()) else []
        return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Submitter:
    """One for each API process."""

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        checker: InputChecker,
        own_files: OwnFiles,
        fleet: Fleet,
        backlog: Backlog,
        threads: Executor,
        run_large: RunLarge,
    ) -> None:
        self._database, self._lifecycle = database, lifecycle
        self._checker, self._own_files = checker, own_files
        self._fleet, self._backlog = fleet, backlog
        self._threads, self._run_large = threads, run_large
        self._insert: Coalescer[NewRow, Prediction | None] = Coalescer(
            self._insert_group,
            limit=INSERT_LIMIT,
            lanes=2,
            size_of=lambda row: row.size,
            halve_on=(DatabaseRefused,),
        )

    async def submit(self, submission: Submission) -> Prediction:
        """Checks, writes, notifies. The same idempotency key and body give the prediction that exists
        already.

        Raises InvalidInput naming the fields, InvalidRequest for a key used with another body,
        TooManyWaiting, Unavailable, ModelUnhealthy.
        """
        checked, text = await self._check(submission)
        await self._own_files.check(submission.user_id, submission.version.input_schema, checked)
        self._backlog.admit(submission.user_id)
        row = await self._row(submission, text)
        created = await self._insert(row)
        return created or await self._existing(submission)

    async def _check(self, submission: Submission) -> tuple[dict[str, Any], JsonText]:
        """The input to run with, and its text."""
        check = self._checker.check_for(submission.version)

        def check_and_write() -> tuple[dict[str, Any], JsonText]:
            checked = check(submission.input)
            return checked, JsonText.from_value(checked)

        if submission.size <= LARGE:
            return check_and_write()
        written: tuple[dict[str, Any], JsonText] = await self._run_large(check_and_write)
        return written

    async def _row(self, submission: Submission, text: JsonText) -> NewRow:
        version = submission.version
        wish = {"device": submission.device} if submission.device else {}
        choice = await self._fleet.route(version.id, {**wish, **version.config})
        values = {
            "id": new_id(time.time_ns() // 1_000_000),
            "user_id": submission.user_id,
            "version_id": version.id,
            "model": version.model,
            "queue": choice.queue,
            "routing": {**choice.as_json(), **submission.requested()},
            "source": submission.source,
            "input": text.fragment,
            "stream": version.streams,
            "cancel_after": submission.cancel_after,
            "timeout": submission.timeout,
            "webhook": submission.webhook,
            "webhook_events": submission.webhook_events,
            "idempotency_key": submission.idempotency_key,
            "request_hash": submission.fingerprint() if submission.idempotency_key else None,
        }
        return NewRow(values, len(text) + ROW_BYTES)

    async def _insert_group(self, rows: list[NewRow]) -> Sequence[Prediction | None]:
        created = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._lifecycle.accept, [row.values for row in rows]
        )
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
        await self._insert.close()
