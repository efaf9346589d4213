"""A gateway's engine over servers that can misbehave, without a database: what the tests submit and look
at."""

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fake_upstream import FakeUpstream

from app.backends.base import BackendAddress, BackendKind
from app.backends.registry import find
from app.domain.backends import Backend
from app.domain.predictions import new_id
from app.domain.work import END, Chunk, Event, Finished, ModelSpec, Work
from app.engine.work_items import Handle
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient
from app.worker.gateway.backend_pool import BackendPool
from app.worker.gateway.breaker_board import BreakerBoard
from app.worker.gateway.gateway_engine import GatewayEngine

LOOPBACK = AddressPolicy(allow_private=True)


def registered(upstream: FakeUpstream, name: str, **more: Any) -> Backend:
    """The upstream as a registered backend."""
    now = datetime.now(UTC)
    columns = {"kind": "openai", "silence_seconds": 5.0, "max_concurrency": 100, **more}
    return Backend(id=uuid4(), name=name, url=upstream.url, created_at=now, updated_at=now, **columns)


def open_backend(backend: Backend) -> BackendKind:
    address = BackendAddress(backend.url, "", backend.silence_seconds, backend.options)
    return find(backend.kind)(address, AsyncGuardedClient(LOOPBACK, backend.max_concurrency))


@dataclass
class Watched:
    """A submitted work item, with all that came of it."""

    handle: Handle | None = None
    events: list[Event] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _over: threading.Event = field(default_factory=threading.Event)

    def put(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, END):
            self._over.set()

    @property
    def ending(self) -> Any:
        assert self._over.wait(20), f"no ending; so far {self.events}"
        return self.events[-1]

    @property
    def chunks(self) -> list[Any]:
        return [event.data for event in self.events if isinstance(event, Chunk)]


class Gateway:
    """An engine whose backends are the upstreams that it is given."""

    def __init__(self, *backends: Backend, board: BreakerBoard | None = None) -> None:
        self.engine = GatewayEngine(BackendPool(open_backend, board))
        self.engine.start()
        self.names = [backend.name for backend in backends]
        self.pool = self.engine.pool
        self.replace(*backends)

    def replace(self, *backends: Backend) -> None:
        async def replace() -> None:
            self.pool.replace_all(backends)

        self.engine.call(replace())

    def submit(self, task: str = "text-generation", **given: Any) -> Watched:
        return self.submit_all([given.pop("input", None) or {"prompt": "x"}], task, **given)[0]

    def submit_all(
        self, inputs: list[dict[str, Any]], task: str = "text-generation", strategy: str = "", **given: Any
    ) -> list[Watched]:
        model = given.pop("model", "tiny-chat")
        overflow, age = given.pop("only_when", {}), given.pop("age", 0.0)
        config: dict[str, Any] = {
            "backends": [
                {"name": name, "model": model, "only_when": overflow.get(name, "")} for name in self.names
            ]
        }
        config |= {"strategy": strategy} if strategy else {}
        spec = ModelSpec(f"{task} {strategy}", "a/b", "backend", task, config=config)
        watched = [Watched() for _ in inputs]
        group = [
            (
                Work(
                    new_id(int((time.time() - age) * 1_000)),
                    values,
                    timeout=given.get("timeout", 0.0),
                    routing=given.get("routing"),
                ),
                each.put,
            )
            for values, each in zip(inputs, watched, strict=True)
        ]
        for each, handle in zip(watched, self.engine.submit_all(spec, group), strict=True):
            each.handle = handle
        return watched

    def finish(self, **given: Any) -> Finished:
        """One that must go well."""
        ending = self.submit(**given).ending
        assert isinstance(ending, Finished), ending
        return ending
