"""In the engine's place: runs work items at backends, hundreds at once on one event loop of its own thread.

Thread-safe; the same calls as `engine.Engine`. It knows versions and backends; it does not know where work
comes from, nor where its events go."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from app.backends.base import BackendCall
from app.domain.backend_retry import Retry, Tried, UpstreamFailed, next_step
from app.domain.errors import ModelFailed
from app.domain.predictions import accepted_at
from app.domain.work import Canceled, Crashed, Failed, Finished, Log, ModelSpec, Started, Work
from app.engine.capacity import next_pace
from app.engine.loaded_model import LoadedModel
from app.engine.work_items import Handle, Sink, WorkItem
from app.events.channels import BreakerChange
from app.worker.gateway.backend_pool import BackendPool
from app.worker.gateway.gateway_versions import GatewayVersion, GatewayVersions, Route
from app.worker.gateway.live_backend import Lease, Usage

log = logging.getLogger(__name__)

STOPPING = "the worker is stopping"
BROKEN = "Lovage itself failed while running this prediction; the worker's log says more."


class GatewayEngine:
    """`start` once, `stop` once. `background`: what runs beside on the loop, such as probes."""

    budget_bytes = 0

    def __init__(
        self, pool: BackendPool, background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    ) -> None:
        self.pool, self._background = pool, background
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="gateway", daemon=True)
        self._versions = GatewayVersions(pool)
        self._tasks: dict[WorkItem, asyncio.Task[None]] = {}
        self._is_stopping = False

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._beside = [self._loop.create_task(begin()) for begin in self._background]
        self._loop.run_forever()

    def submit_all(self, spec: ModelSpec, group: Sequence[tuple[Work, Sink]]) -> list[Handle]:
        """Several items of one version, each with the sink of its events. Never blocks and never raises:
        whatever goes wrong is an item's ending event."""
        handles = [Handle(work.id, sink) for work, sink in group]
        if self._is_stopping:
            for handle in handles:
                handle.put(Crashed(STOPPING))
            return handles
        version = self._versions.use(spec)
        items = [WorkItem(work, work.id, handle) for (work, _), handle in zip(group, handles, strict=True)]
        for item in items:
            item.handle.on_cancel(partial(self._call, self._cancel, item))
        self._call(self._begin, version, items)
        return handles

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    # On the loop

    def _begin(self, version: GatewayVersion, items: Sequence[WorkItem]) -> None:
        version.open += len(items)
        for item in items:
            task = self._loop.create_task(self._run(version, item))
            self._tasks[item] = task
            task.add_done_callback(partial(self._forget, version, item))

    def _forget(self, version: GatewayVersion, item: WorkItem, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(item, None)
        version.open -= 1
        if task.cancelled():  # before its first step
            item.put_end(Crashed(STOPPING) if self._is_stopping else Canceled())

    def _cancel(self, item: WorkItem) -> None:
        if task := self._tasks.get(item):
            task.cancel()

    async def _run(self, version: GatewayVersion, item: WorkItem) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                ending: Any = await self._attempts(version, item, limit)
        except TimeoutError:
            ending = item.timeout_failure()
        except asyncio.CancelledError:
            ending = Crashed(STOPPING) if self._is_stopping else Canceled()
        except UpstreamFailed as error:  # what was cut can begin anew nowhere
            ending = Failed(error.sentence, ModelFailed.code)
        except Exception:  # an ending with a reason, whatever it is
            log.exception("calling a backend for %s", item.work.id)
            ending = Failed(BROKEN, ModelFailed.code)
        item.put_end(ending)

    async def _attempts(
        self, version: GatewayVersion, item: WorkItem, limit: asyncio.Timeout
    ) -> Finished | Failed:
        calls = restarts = 0
        route, first_call = version.route(item.work.routing), 0.0
        names, avoid = list[str](), set[str]()
        while True:
            lease = await self._lease(version, route, item, avoid)
            name, now = lease.choice.name, time.monotonic()
            if not calls:
                first_call, item.sent = now, True
                if item.work.timeout:
                    limit.reschedule(self._loop.time() + item.work.timeout)
            calls += 1
            names.append(name)
            had = len(item.delivered)
            try:
                return await self._call_backend(version, item, lease, names)
            except UpstreamFailed as error:
                failure = error
            finally:
                self.pool.release(name)
            restarts += had > 0
            tried = Tried(
                name,
                time.monotonic() - first_call,
                calls,
                has_output=len(item.delivered) > 0,
                restarts=restarts,
                others=self._has_others(version, route, item, name),
            )
            step = next_step(failure, tried)
            item.handle.put(Log(f"backend {name}: {failure.sentence}\n"))
            if not isinstance(step, Retry):
                return Failed(step.error, step.code, _named(names, item.phase_seconds(time.monotonic())))
            avoid = {name} if step.elsewhere else set()
            item.reset()
            item.sent = True
            await asyncio.sleep(step.wait)

    async def _lease(self, version: GatewayVersion, route: Route, item: WorkItem, avoid: set[str]) -> Lease:
        accepted, is_cut = accepted_at(item.work.id), len(item.delivered) > 0
        choices, strategy = route
        return await self.pool.lease(choices, version.spec.version, strategy, avoid, accepted, is_cut=is_cut)

    def _has_others(self, version: GatewayVersion, route: Route, item: WorkItem, name: str) -> bool:
        backlog_seconds = time.time() - accepted_at(item.work.id)
        facts = self.pool.facts(route[0], version.spec.version, backlog_seconds)
        return any(each.is_usable for each in facts if each.name != name)

    async def _call_backend(
        self, version: GatewayVersion, item: WorkItem, lease: Lease, names: Sequence[str]
    ) -> Finished:
        call = BackendCall(lease.choice.model, version.spec.task, item.work.json_input())
        backend = lease.backend
        began = time.monotonic()
        item.pass_on(Started(1))
        with lease:
            async with aclosing(backend.server.run(call)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Finished):
                        lease.usage = _usage_of(event.metrics)
                        version.pace = next_pace(version.pace, time.monotonic() - began, 1)
                        metrics = {**event.metrics, **item.phase_seconds(time.monotonic())}
                        return Finished(event.output, _named(names, metrics))
                    item.pass_on(event)
            raise UpstreamFailed("ended without an answer")

    # From any thread

    def is_ready(self, version: str) -> bool:
        """Nothing is loaded here."""
        return True

    def load(self, spec: ModelSpec, *, pin: bool | None = None, anyway: bool = False) -> LoadedModel:
        """Its backends load their models themselves."""
        return self._versions.describe(self._versions.use(spec))

    def release(self, version: str, *, unload: bool = True) -> None:
        """Nothing is loaded here."""

    def models(self) -> list[LoadedModel]:
        """The versions that were used lately."""
        return self._versions.describe_all()

    def states(self) -> dict[str, str]:
        return self._versions.states()

    def limits(self) -> dict[str, int]:
        """How many items of each version it takes at once."""
        return self._versions.limits()

    def pace(self, version: str) -> float:
        """Seconds of one prediction lately; 0: not known."""
        return self._versions.pace(version)

    def folders(self) -> set[str]:
        """Of files that must stay: none."""
        return set()

    def on_breaker_change(self, data: bytes) -> None:
        """What a gateway worker has said to all."""
        self._call(self.pool.on_breaker_change, BreakerChange.decode(data))

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs it on the loop, and waits."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, lets what runs end within the grace; the rest ends as Crashed."""
        self._is_stopping = True
        until = time.monotonic() + grace_seconds
        while self._tasks and time.monotonic() < until:
            time.sleep(0.05)
        if self._thread.is_alive():
            self.call(self._end())
            self._call(self._loop.stop)
            self._thread.join()

    async def _end(self) -> None:
        tasks = [*self._tasks.values(), *self._beside]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(backend.server.close() for backend in self.pool.list_all()))


def _usage_of(metrics: Mapping[str, Any]) -> Usage:
    read = metrics.get("prompt_tokens") or metrics.get("input_tokens") or 0
    return Usage(int(read), int(metrics.get("output_tokens") or 0))


def _named(names: Sequence[str], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """With the backend that answered, and of several calls all that were tried, in order."""
    tried = {"backends_tried": list(names)} if len(names) > 1 else {}
    return {**metrics, "backend": names[-1], **tried}
