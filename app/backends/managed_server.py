"""A server of models that is started on this machine when a prediction needs it, watched, started again when
it ends, and stopped when nothing has needed it for a while. What it speaks is another kind's business."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import structlog

from app.backends.base import BackendAddress, BackendCall, BackendKind, JsonObject
from app.backends.kept_process import KeptProcess
from app.backends.startable_engine import StartableEngine
from app.backends.tasks import EMBEDDING, PAIR_SCORING, TEXT_GENERATION, infer_task
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Event
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient
from app.outbound.guard import Refused

log = structlog.get_logger(__name__)

ADDRESS = re.compile(r"engine:(?P<name>[a-z0-9][a-z0-9._-]{0,63})\Z")
KEEP_ALIVE_SECONDS = 300.0
IDLE_LOOK_SECONDS = 1.0
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 60.0
STEADY_SECONDS = 60.0  # one that was up for so long has recovered: its next end is a first one again
STOPPED = "it is not started: it is as soon as a prediction needs it"


class ManagedServer(BackendKind):
    """Its address is `engine:NAME`, a recipe. It is started in gateway workers only, by `want`."""

    is_started_here: ClassVar[bool] = True
    tasks: ClassVar[tuple[str, ...]] = (TEXT_GENERATION, EMBEDDING, PAIR_SCORING)
    options: ClassVar[JsonObject] = {
        "model": {"type": "string", "minLength": 1, "maxLength": 300},
        "task": {"type": "string", "enum": list(tasks)},
        "values": {
            "type": "object",
            "maxProperties": 32,
            "additionalProperties": {
                "anyOf": [{"type": "string", "maxLength": 1_000}, {"type": "number"}],
            },
        },
        "device": {"type": "string", "pattern": r"^(cpu|(cuda|rocm):[0-9]{1,2})$"},
        "memory_bytes": {"type": "integer", "minimum": 0, "maximum": 2**50},
        "keep_alive": {"type": "number", "minimum": 0, "maximum": 31_536_000},
        "start_seconds": {"type": "number", "minimum": 1, "maximum": 86_400},
        "host": {"type": "string", "minLength": 1, "maxLength": 64},
    }

    def __init__(self, address: BackendAddress, client: AsyncGuardedClient) -> None:
        super().__init__(address, client)
        self._option, self._engine = address.options.get, StartableEngine(address, client)
        self._model = str(self._option("model") or "")
        self._keep_alive = float(self._option("keep_alive", KEEP_ALIVE_SECONDS))
        self._server: BackendKind | None = None  # while it can be called
        self._calls = 0
        self._needed_at = 0.0  # monotonic
        self._failure, self._rests_until = "", 0.0
        self._running: asyncio.Task[None] | None = None
        self.not_ready = STOPPED

    @classmethod
    def check_url(cls, url: str, policy: AddressPolicy) -> None:
        if not ADDRESS.match(url):
            raise Refused("must be engine:NAME, the name of a recipe")

    # As every kind

    async def check(self) -> None:
        """Starts nothing, but what is to be up always."""
        if self._server is not None:
            await self._server.check()
            return
        if self._failure and time.monotonic() < self._rests_until:
            raise UpstreamFailed(self._failure)
        self._engine.check()
        if not self._keep_alive and self.address.machine.host:
            self.want()

    async def list_models(self) -> Sequence[ServedModel]:
        """What it says where it runs; else what is to be served."""
        if self._server is not None:
            return await self._server.list_models()
        if not self._model:
            raise UpstreamFailed("says what it serves once it has an option model, or runs", Fault.SETUP)
        task = str(self._option("task") or self._engine.recipe().task or infer_task(self._model))
        return [ServedModel(self._model, task, streams=task == TEXT_GENERATION)]

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        server = self._server
        if server is None:
            raise UpstreamFailed(f"cannot be called: {self.not_ready}")
        self._calls += 1
        try:
            async for event in server.run(call):
                yield event
        finally:
            self._calls -= 1
            self._needed_at = time.monotonic()

    # Its process

    def want(self) -> None:
        self._needed_at = time.monotonic()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._keep_running(), name=f"engine-{self.address.name}")

    async def close(self) -> None:
        """Stops it."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.client.close()

    @property
    def _is_needed(self) -> bool:
        idle = time.monotonic() - self._needed_at
        return self._calls > 0 or not self._keep_alive or idle < self._keep_alive

    async def _keep_running(self) -> None:
        """Until nothing needs it; what ends by itself is started again, later each time."""
        ends = 0
        try:
            while self._is_needed:
                began = time.monotonic()
                failure = await self._run_once()
                if not failure:
                    break
                ends = 1 if time.monotonic() - began > STEADY_SECONDS else ends + 1
                await self._rest(failure, min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** (ends - 1)))
        finally:
            self.not_ready = STOPPED

    async def _rest(self, failure: str, seconds: float) -> None:
        log.warning("engine_ended", backend=self.address.name, reason=failure, starts_in=seconds)
        self._failure, self._rests_until = failure, time.monotonic() + seconds
        self.not_ready = f"it {failure}; it is started again in {seconds:g} s"
        await asyncio.sleep(seconds)

    async def _run_once(self) -> str:
        """From its start to its end. Answers why it ended; "": nothing needed it any more."""
        try:
            async with self._engine.running(self._set_phase) as (process, server):
                return await self._serve(process, server)
        except UpstreamFailed as error:
            return error.sentence
        finally:
            self._server = None

    def _set_phase(self, sentence: str) -> None:
        self.not_ready = sentence

    async def _serve(self, process: KeptProcess, server: BackendKind) -> str:
        """Until it ends, or nothing needs it any more ("")."""
        log.info("engine_ready", backend=self.address.name)
        self._server, self._failure = server, ""
        self.not_ready = ""
        self._needed_at = time.monotonic()
        self.on_ready()
        ended = asyncio.ensure_future(process.wait())
        try:
            while self._is_needed:
                await asyncio.wait([ended], timeout=IDLE_LOOK_SECONDS)
                if ended.done():
                    return process.describe_end()
            log.info("engine_idle", backend=self.address.name)
            return ""
        finally:
            ended.cancel()
