"""All backends that a gateway worker knows: who gets the next prediction, and who waits for capacity. Used
from the event loop only; knows no prediction and no database."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from app.backends.base import BackendKind
from app.domain import backend_choice
from app.domain.backend_choice import ROUND_ROBIN, BackendFacts
from app.domain.backend_retry import UpstreamFailed
from app.domain.backends import Backend, BackendChoice, BackendReport
from app.domain.errors import LovageError
from app.domain.hybrid import Hybrid, expand, hybrids_of, strategy_for
from app.events.channels import BreakerChange
from app.worker.gateway.breaker_board import BreakerBoard
from app.worker.gateway.live_backend import Lease, LiveBackend

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5  # between looks at breakers and busy backends while somebody waits
OpenBackend = Callable[[Backend], BackendKind]


@dataclass(slots=True, eq=False)
class _Waiting:
    """For a place at one of `names`. Those of one `kind` can have the same."""

    names: Collection[str]
    kind: tuple[str, Collection[str]]  # version, and what it avoids
    turn: "asyncio.Future[None]"


class BackendPool:
    """`open_backend` makes the connection of a registered backend; `board`: what other gateway workers say of
    breakers."""

    def __init__(self, open_backend: OpenBackend, board: BreakerBoard | None = None) -> None:
        self._open_backend = open_backend
        self.board = board or BreakerBoard()
        self._backends: dict[str, LiveBackend] = {}
        self._hybrids: dict[str, Hybrid] = {}
        self._is_starting_some = False  # there are backends whose servers have to be started
        self._waiting: dict[_Waiting, None] = {}  # in order of asking
        self._look: asyncio.TimerHandle | None = None
        self._broken: set[str] = set()  # names, so that each is logged once

    def replace_all(self, rows: Sequence[Backend]) -> list[LiveBackend]:
        """What is registered now; answers those whose connection is used no more. Calls under way go on."""
        former, self._hybrids = self._backends, hybrids_of(rows)
        called = [row for row in rows if row.name not in self._hybrids]
        current = {row.name: live for row in called if (live := self._opened(former.get(row.name), row))}
        self._backends = current  # at once: other threads read it
        self._is_starting_some = any(live.server.is_started_here for live in current.values())
        self.wake_all()
        kept = {id(live) for live in self._backends.values()}
        return [live for live in former.values() if id(live) not in kept]

    def _opened(self, former: LiveBackend | None, row: Backend) -> LiveBackend | None:
        """The one that is there, or a new one; None for one that cannot be opened, which costs the others
        nothing."""
        if former is not None and not _is_elsewhere(former.row, row):
            former.row = row
            return former
        try:
            live = LiveBackend(row, self._open_backend(row), self.board)
        except LovageError as error:
            if row.name not in self._broken:
                log.warning("backend_not_opened", backend=row.name, reason=error.detail)
            self._broken.add(row.name)
            return None
        self._broken.discard(row.name)
        live.server.on_ready = partial(self._on_ready, live)
        return live

    def _on_ready(self, live: LiveBackend) -> None:
        live.on_ready()
        self.wake_all()

    def list_all(self) -> list[LiveBackend]:
        return list(self._backends.values())

    async def lease(
        self,
        choices: Sequence[BackendChoice],
        version: str,
        strategy: str,
        avoid: Collection[str] = (),
        accepted: float = 0.0,
        *,
        is_cut: bool = False,
    ) -> Lease:
        """A place at one of them for what was `accepted` at that Unix time; waits for it. `avoid`: only where
        no other can have it; never for what `is_cut`, as readers have had a part of it from there. In order
        of asking. Raises UpstreamFailed when all others of what is cut are away."""
        if lease := self._try(choices, version, strategy, avoid, accepted, is_cut):
            return lease
        loop, names = asyncio.get_running_loop(), self._names(choices)
        waiting = _Waiting(names, (version, frozenset(avoid)), loop.create_future())
        self._waiting[waiting] = None
        self._look_later(loop)
        try:
            while True:
                await waiting.turn
                waiting.turn = loop.create_future()
                if lease := self._try(choices, version, strategy, avoid, accepted, is_cut):
                    break
        finally:
            del self._waiting[waiting]
            if waiting.turn.done():  # it was its turn, and it has been cancelled
                for name in names:
                    self.release(name)
        if lease.backend.in_flight < lease.backend.row.max_concurrency:
            self._call_first(waiting.kind)
        return lease

    def _names(self, choices: Sequence[BackendChoice]) -> frozenset[str]:
        return frozenset(choice.name for choice in expand(choices, self._hybrids))

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._look is None:
            self._look = loop.call_later(LOOK_SECONDS, self._look_now, loop)

    def _look_now(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first of each kind tries; who gets a place where there are more calls the next."""
        self._look = None
        for kind in {waiting.kind for waiting in self._waiting}:
            self._call_first(kind)
        if self._waiting:
            self._look_later(loop)

    def _call_first(self, kind: tuple[str, Collection[str]]) -> None:
        for waiting in self._waiting:
            if waiting.kind == kind and not waiting.turn.done():
                waiting.turn.set_result(None)
                return

    def release(self, name: str) -> None:
        """A call there has ended: who has waited longest for it may try."""
        for waiting in self._waiting:
            if name in waiting.names and not waiting.turn.done():
                waiting.turn.set_result(None)
                return

    def wake_all(self) -> None:
        for waiting in self._waiting:
            if not waiting.turn.done():
                waiting.turn.set_result(None)

    def _try(
        self,
        choices: Sequence[BackendChoice],
        version: str,
        strategy: str,
        avoid: Collection[str],
        accepted: float,
        is_cut: bool,
    ) -> Lease | None:
        backlog_seconds = time.time() - accepted
        if self._is_starting_some or self.board.tripped:
            self._want(choices, backlog_seconds)
        facts = self.facts(choices, version, backlog_seconds)
        strategy = strategy_for(strategy, choices, self._hybrids)
        others = [each for each in facts if each.name not in avoid]
        chosen = backend_choice.choose(strategy, others, random.random())
        if chosen is None and avoid and is_cut and all(each.unusable for each in others):
            raise UpstreamFailed("its output was cut, and no other backend has the model any more")
        if chosen is None and avoid and not is_cut and not any(each.is_usable for each in others):
            chosen = backend_choice.choose(strategy, facts, random.random())
        if chosen is None:
            return None
        if strategy == ROUND_ROBIN:
            for name, credit in backend_choice.next_credits(facts, chosen).items():
                self._backends[name].set_credit(version, credit)
        choice = BackendChoice(chosen.name, chosen.model, chosen.weight)
        return Lease(self._backends[chosen.name], choice)

    def _want(self, choices: Sequence[BackendChoice], backlog_seconds: float) -> None:
        """What has to be started is, whoever gets this prediction; and what has rested is tried."""
        for choice in expand(choices, self._hybrids):
            if choice.name in self._backends:
                self._backends[choice.name].want(choice, backlog_seconds, self.wake_all)

    def on_breaker_change(self, change: BreakerChange) -> None:
        """What another gateway worker has just said."""
        for live in self._backends.values():
            if str(live.row.id) == change.backend and change.worker != self.board.worker:
                live.follow(change.model, change.rest, change.until - time.time())
                self.wake_all()

    def facts(
        self, choices: Sequence[BackendChoice], version: str, backlog_seconds: float = 0.0
    ) -> list[BackendFacts]:
        """All that a version names, known here or not, for a prediction that has waited so long."""
        return [
            self._backends[choice.name].facts(choice, version, backlog_seconds)
            if choice.name in self._backends
            else BackendFacts(choice.name, choice.model, unusable="there is no such backend", free=0)
            for choice in expand(choices, self._hybrids)
        ]

    def capacity(self, choices: Sequence[BackendChoice]) -> int:
        """How many predictions of such a version are worth holding here at once."""
        named = expand(choices, self._hybrids)
        known = [(self._backends[each.name], each.model) for each in named if each.name in self._backends]
        return sum(backend.capacity(model) for backend, model in known)

    def reports(self) -> Mapping[str, BackendReport]:
        """What is written down, by name."""
        waits = [waiting.names for waiting in self._waiting]
        return {
            name: live.report(sum(name in names for names in waits)) for name, live in self._backends.items()
        }


def strategy_of(config: Mapping[str, object]) -> str:
    """A version's own; "": that of what it names, or failover."""
    return str(config.get("strategy") or "")


def _is_elsewhere(now: Backend, row: Backend) -> bool:
    """Whether another connection is needed."""
    names = ("id", "kind", "url", "credential", "options", "silence_seconds")
    return any(getattr(now, name) != getattr(row, name) for name in names) or (
        row.max_concurrency > now.max_concurrency
    )
