"""Opening a direct call's prediction: whether there is capacity, written to Postgres, begun in the engine.
Knows no wire format and no credentials."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from app.db.session import Database
from app.domain.errors import TooMany
from app.domain.predictions import DIRECT, Prediction
from app.domain.raw_tensors import RawTensors, count_bytes
from app.domain.versions import RunnableVersion
from app.engine.capacity import UNMEASURED
from app.rpc.direct_run import DirectRun
from app.rpc.tls import CertificateUsers
from app.services.catalogue.model_names import ModelNames
from app.services.people.access import Access, Principal
from app.services.people.rate_limits import RateLimits
from app.services.people.worker_tokens import GrantVerifier, WorkerGrant
from app.services.predictions.input_check import InputChecker
from app.services.predictions.late_inserts import RecordsAtRisk
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.submit import Begin, Submission, Submitter
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

MOST_BYTES = 512 * 1024 * 1024  # of requests that are held at once
RETRY_SECONDS = 0.5
FULL = "This worker has no capacity for more predictions of this model now."
TOO_MANY_BYTES = "This worker holds as many bytes of requests as it may."


@dataclass(frozen=True, slots=True)
class GrantedPrincipal(Principal):
    """A caller with a session's token: may run what it names, and nothing else."""

    grant: WorkerGrant | None = None

    @property
    def records_later(self) -> bool:
        """Whether its calls may be answered before they are recorded."""
        return self.grant is not None and self.grant.records_later


@dataclass(slots=True)
class DirectParts:
    """What direct calls need of the process. `begin` makes a prediction that runs before it is written."""

    database: Database
    access: Access
    verifier: GrantVerifier
    names: ModelNames
    limits: RateLimits
    submitter: Submitter
    begin: Begin
    checker: InputChecker
    runner: Runner
    view: PredictionView
    stored: StoredValues
    slots: int
    certificate_users: CertificateUsers


class DirectOpener:
    """One for each worker with a GRPC_PORT, on its server's loop."""

    def __init__(self, parts: DirectParts) -> None:
        self._parts = parts
        self._held_bytes = 0
        self._opening: set[asyncio.Task[DirectRun]] = set()
        self._begun: dict[str, DirectRun] = {}
        self._risk = RecordsAtRisk()

    async def open(
        self,
        caller: Principal,
        version: RunnableVersion,
        values: dict[str, Any],
        *,
        size: int,
        seconds: float | None = None,
        wants_events: bool = False,
        tensors: RawTensors | None = None,
    ) -> DirectRun:
        """A prediction that runs here from now on, for at most so many `seconds`. A caller that leaves
        meanwhile cancels it. `size` of the request; `tensors` of it as Work's. Raises what `Submitter.submit`
        raises, and TooMany."""
        self._require_capacity(version, size)
        self._count(caller)
        in_json = size - count_bytes(tensors or {})
        submission = Submission(caller.user_id, version, values, source=DIRECT, timeout=seconds, size=in_json)
        later = isinstance(caller, GrantedPrincipal) and caller.records_later
        begin = partial(DirectRun, wants_events=wants_events, tensors=tensors)
        opening = asyncio.ensure_future(self._open(submission, size, begin, later=later))
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
        if free <= 0 or runner.capacity(held_back=False).get(version.id, UNMEASURED) <= 0:
            raise TooMany(FULL, retry_after=RETRY_SECONDS)
        if self._held_bytes and self._held_bytes + size > MOST_BYTES:
            raise TooMany(TOO_MANY_BYTES, retry_after=RETRY_SECONDS)

    def _count(self, caller: Principal) -> None:
        """Towards the caller's limits of creations. Raises TooManyCalls."""
        limits = self._parts.limits
        limits.count("creates", str(caller.user_id or "anonymous"))
        if caller.key_id:
            limits.count("key", str(caller.key_id))

    async def _open(
        self, submission: Submission, size: int, begin: "partial[DirectRun]", *, later: bool
    ) -> DirectRun:
        prediction, writing = await self._submit(submission, later=later and not self._risk.is_too_late)
        if prediction.input_key:  # its long part was stored; it is here, and need not be read again
            checked = self._parts.checker.check(submission.version, submission.input)
            prediction.input, prediction.input_key = {**checked, **(prediction.input or {})}, None
        run = begin(prediction, risk=self._risk if writing else None)
        if writing:
            self._follow(writing, run)
        self._held_bytes += size
        run.on_done(partial(self._release, size))
        self._start(run)
        return run

    async def _submit(
        self, submission: Submission, *, later: bool
    ) -> tuple[Prediction, "asyncio.Future[bool] | None"]:
        submitter = self._parts.submitter
        if later:
            return await submitter.submit_begun(submission, self._parts.begin)
        return await submitter.submit(submission), None

    def _follow(self, writing: "asyncio.Future[bool]", run: DirectRun) -> None:
        """Until it is written."""
        self._risk.add(run.prediction.id)

        def on_written(_: Any) -> None:
            self._risk.discard(run.prediction.id)
            if run.opened:
                run.opened.set_result(not writing.cancelled() and writing.result())

        writing.add_done_callback(on_written)

    def _start(self, run: DirectRun) -> None:
        """Together with the others that were written with it: they go to the model as one message, and can
        be one batch."""
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._start_all)
        self._begun[run.prediction.id] = run

    def _start_all(self) -> None:
        begun, self._begun = self._begun, {}
        try:
            self._parts.runner.start([run.prediction for run in begun.values()], begun)
        except Exception:  # a bug: none of them may wait for ever
            log.exception("direct_runs_not_started")
            for run in begun.values():
                run.on_recorded(None)

    def _release(self, size: int) -> None:
        self._held_bytes -= size

    def _cancel_opened(self, opening: "asyncio.Task[DirectRun]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            run = opening.result()
            self._parts.runner.in_flight.cancel([run.prediction.id])
