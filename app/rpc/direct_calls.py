"""From a call to its prediction: who calls, which version, whether there is capacity, opened in Postgres, run
in the engine, canceled when the caller leaves. Knows no wire format."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.db import predictions as table
from app.db.session import Database
from app.domain.errors import LovageError, NotFound, TooMany, Unavailable, wrong_field
from app.domain.predictions import DIRECT, Prediction
from app.domain.versions import VERSION_ID, RunnableVersion
from app.engine.capacity import UNMEASURED
from app.rpc.direct_run import DirectRun
from app.rpc.errors import Context
from app.services.catalogue.model_names import ModelNames
from app.services.people.access import Access, Principal
from app.services.people.rate_limits import RateLimits
from app.services.predictions.input_check import InputChecker
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.submit import Submission, Submitter
from app.worker.runner import Runner

MOST_BYTES = 512 * 1024 * 1024  # of requests that are held at once
RETRY_SECONDS = 0.5
FULL = "This worker has no capacity for more predictions of this model now."
TOO_MANY_BYTES = "This worker holds as many bytes of requests as it may."
DRAINING = "This worker takes nothing new: it is stopping. Ask for another."


@dataclass(slots=True)
class DirectParts:
    """What direct calls need of the process."""

    database: Database
    access: Access
    names: ModelNames
    limits: RateLimits
    submitter: Submitter
    checker: InputChecker
    runner: Runner
    view: PredictionView
    stored: StoredValues
    slots: int


class DirectCalls:
    """One for each worker with a GRPC_PORT, on its server's loop."""

    def __init__(self, parts: DirectParts) -> None:
        self._parts = parts
        self._held_bytes = 0
        self._opening: set[asyncio.Task[DirectRun]] = set()
        self.draining = False

    async def caller(self, context: Context) -> Principal:
        """Who calls, by the metadata `authorization`. Raises Unauthenticated, Unavailable."""
        if self.draining:
            raise Unavailable(DRAINING, retry_after=RETRY_SECONDS)
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        header = metadata.get("authorization")
        return await self._parts.access.principal(str(header) if header is not None else None)

    async def version(self, caller: Principal, model: str, version: str) -> RunnableVersion:
        """What is to run. Raises NotFound, InvalidRequest."""
        caller.need("predict")
        if version and not VERSION_ID.match(version):
            raise wrong_field("model_version", "must be empty or a version's id (64 hex digits)")
        reference = await self._parts.names.reference(caller, model)
        name = reference.partition(":")[0] if version and "/" in reference else reference
        try:
            return await self._parts.names.runnable(caller, f"{name}:{version}" if version else name)
        except LovageError as error:
            if isinstance(error, Unavailable):
                raise
            raise NotFound(
                f"The model {model[:200]!r} does not exist or you do not have access to it."
            ) from None

    async def open(
        self,
        caller: Principal,
        version: RunnableVersion,
        values: dict[str, Any],
        *,
        size: int,
        seconds: float | None = None,
        wants_events: bool = False,
    ) -> DirectRun:
        """A prediction that runs here from now on, for at most so many `seconds`. A caller that leaves
        meanwhile cancels it. Raises what `Submitter.submit` raises, and TooMany."""
        self._require_capacity(version, size)
        self._count(caller)
        submission = Submission(
            user_id=caller.user_id, version=version, input=values, source=DIRECT, timeout=seconds, size=size
        )
        opening = asyncio.ensure_future(self._open(submission, wants_events))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._cancel_opened)
            raise

    def _require_capacity(self, version: RunnableVersion, size: int) -> None:
        runner = self._parts.runner
        free = self._parts.slots - len(runner.in_flight)
        if free <= 0 or runner.capacity().get(version.id, UNMEASURED) <= 0:
            raise TooMany(FULL, retry_after=RETRY_SECONDS)
        if self._held_bytes and self._held_bytes + size > MOST_BYTES:
            raise TooMany(TOO_MANY_BYTES, retry_after=RETRY_SECONDS)

    def _count(self, caller: Principal) -> None:
        """Towards the caller's limits of creations. Raises TooManyCalls."""
        limits = self._parts.limits
        limits.count("creates", str(caller.user_id or "anonymous"))
        if caller.key_id:
            limits.count("key", str(caller.key_id))

    async def _open(self, submission: Submission, wants_events: bool) -> DirectRun:
        prediction = await self._parts.submitter.submit(submission)
        if prediction.input_key:  # its long part was stored; it is here, and need not be read again
            checked = self._parts.checker.check(submission.version, submission.input)
            prediction.input, prediction.input_key = {**checked, **(prediction.input or {})}, None
        run = DirectRun(prediction, wants_events=wants_events)
        self._held_bytes += submission.size
        run.on_done(partial(self._release, submission.size))
        self._parts.runner.start([prediction], {prediction.id: run})
        return run

    def _release(self, size: int) -> None:
        self._held_bytes -= size

    def _cancel_opened(self, opening: "asyncio.Task[DirectRun]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.cancel(opening.result())

    def cancel(self, run: DirectRun) -> None:
        """Stops it, soon."""
        self._parts.runner.in_flight.cancel([run.prediction.id])

    def cancel_id(self, caller: Principal, prediction_id: str) -> bool:
        """Stops the caller's own prediction, if it runs here."""
        runs = self._parts.runner.in_flight.list_all()
        mine = [run for run in runs if run.prediction.id == prediction_id]
        if not mine or not (caller.owns(mine[0].prediction.user_id) or caller.is_operator):
            return False
        self._parts.runner.in_flight.cancel([prediction_id])
        return True

    async def finish(self, run: DirectRun) -> Any:
        """The output when the end is recorded, its files as signed URLs. A caller that leaves cancels it.
        Raises RunEnded."""
        try:
            status = await run.recorded()
        except asyncio.CancelledError:
            self.cancel(run)
            raise
        run.require_success(status)
        return await self.output_of(run)

    async def output_of(self, run: DirectRun) -> Any:
        """What it has answered."""
        if not run.has_files:
            return run.output
        return await self._off_loop(partial(self._read_output, run.prediction.id))

    def _read_output(self, prediction_id: str) -> Any:
        with self._parts.database.autocommit() as statement:
            prediction: Prediction = table.get(statement, [prediction_id])[prediction_id]
        output = self._parts.stored.whole_output(prediction)
        return self._parts.view.with_links(output, prediction_id, "")

    @staticmethod
    async def _off_loop(call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, call)
