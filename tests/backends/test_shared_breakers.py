"""Circuit breakers of several gateway workers: what one opens is open for all, one of them all tries it, and
without Redis each has its own."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from fake_upstream import FakeUpstream
from gateway_support import Gateway, registered
from waiting import eventually

from app import redis_client
from app.backends import breaker
from app.domain import backend_retry
from app.domain.backends import Backend
from app.domain.work import Canceled, Failed, Finished
from app.events import channels
from app.events.breaker_store import BreakerStore
from app.worker import command_listener
from app.worker.command_listener import CommandListener
from app.worker.gateway.breaker_board import BreakerBoard

Start = Callable[..., FakeUpstream]
OpenShared = Callable[[Backend], Gateway]
PATH = "/v1/completions"


@pytest.fixture
def open_shared(servers: Any, open_gateway: Callable[..., Gateway]) -> Iterator[OpenShared]:
    """Gateways that share their breakers, as processes with these connections do."""
    client, threads = redis_client.connect(servers.redis_url), ThreadPoolExecutor(4)
    listeners: list[CommandListener] = []

    def open_(backend: Backend) -> Gateway:
        gateway = open_gateway(backend, board=BreakerBoard(BreakerStore(client), threads))
        handlers = {channels.BREAKERS: gateway.engine.on_breaker_change}
        listeners.append(CommandListener(client, handlers))
        listeners[-1].start()
        return gateway

    yield open_
    for listener in listeners:
        listener.stop()
    for listener in listeners:
        listener._thread.join(5)
    threads.shutdown()
    client.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.0)
    monkeypatch.setattr(breaker, "FIRST_REST_SECONDS", 1.0)
    monkeypatch.setattr(command_listener, "POLL_SECONDS", 0.05)


def open_breaker(gateway: Gateway) -> None:
    for _ in range(breaker.FAILURES):
        assert isinstance(gateway.submit().ending, Failed)


def state_in(gateway: Gateway) -> str:
    [report] = gateway.pool.reports().values()
    return report.models.get("tiny-chat", "closed")


def test_what_one_gateway_opens_is_open_for_all_and_one_of_them_all_tries_it(
    start_upstream: Start, open_shared: OpenShared, servers: Any
) -> None:
    upstream = start_upstream(status=500)
    backend = registered(upstream, "gpu")
    first, second = open_shared(backend), open_shared(backend)
    with redis_client.connect(servers.redis_url) as client:
        eventually(lambda: client.pubsub_numsub(channels.BREAKERS)[0][1] == 2)
    open_breaker(first)
    eventually(lambda: state_in(second) != "closed")
    calls = upstream.calls[PATH]
    upstream.switches.status, upstream.switches.hang = 200, True
    watched = [each for gateway in (first, second) for each in gateway.submit_all([{"prompt": "x"}] * 3)]
    eventually(lambda: upstream.calls[PATH] > calls)
    time.sleep(1.2)  # two looks of each at what waits
    assert upstream.calls[PATH] == calls + 1, "half-open: one of all tries it"
    for each in watched:  # each that ends lets another try it
        assert each.handle
        each.handle.cancel()
        assert isinstance(each.ending, Canceled)
    upstream.switches.hang = False
    assert isinstance(second.submit().ending, Finished)
    eventually(lambda: {state_in(first), state_in(second)} == {"closed"})


def ask_to_try(gateway: Gateway, on_permitted: Callable[[], None]) -> None:
    """As a prediction does that may go there, and then goes elsewhere or is canceled. On its loop."""
    [live] = gateway.pool.list_all()
    live.board.ask_to_try(live.key("tiny-chat"), live.breaker("tiny-chat"), on_permitted)


async def ask_again_and_again(gateway: Gateway, permits: list[bool], is_enough: Event) -> None:
    while not is_enough.is_set():
        ask_to_try(gateway, lambda: permits.append(True))
        await asyncio.sleep(0.001)


def test_what_was_to_try_and_was_canceled_leaves_it_to_another_gateway(
    start_upstream: Start, open_shared: OpenShared
) -> None:
    upstream = start_upstream(status=500)
    backend = registered(upstream, "gpu")
    first, second = open_shared(backend), open_shared(backend)
    open_breaker(first)
    eventually(lambda: state_in(first) == "half-open")
    permitted = Event()

    async def ask() -> None:
        ask_to_try(first, permitted.set)

    first.engine.call(ask())
    assert permitted.wait(20)
    upstream.switches.status = 200
    assert isinstance(second.submit().ending, Finished)


def test_a_gateway_that_never_uses_its_permit_keeps_no_other_from_trying(
    start_upstream: Start, open_shared: OpenShared
) -> None:
    upstream = start_upstream(status=500)
    backend = registered(upstream, "gpu")
    first, second = open_shared(backend), open_shared(backend)
    open_breaker(first)
    eventually(lambda: state_in(second) == "half-open")
    permits, is_enough = list[bool](), Event()
    asking = asyncio.run_coroutine_threadsafe(
        ask_again_and_again(first, permits, is_enough), first.engine._loop
    )
    eventually(lambda: permits)
    upstream.switches.status = 200
    try:
        assert isinstance(second.submit().ending, Finished)
    finally:
        is_enough.set()
        asking.result(10)
    assert len(permits) < 20, "nor is Redis asked at each prediction"


def test_a_gateway_that_comes_later_reads_what_is_open(
    start_upstream: Start, open_shared: OpenShared
) -> None:
    backend = registered(start_upstream(status=500), "gpu")
    open_breaker(first := open_shared(backend))
    late = open_shared(backend)
    eventually(lambda: late.engine.call(late.pool.board.read(str(backend.id))) != [])
    [(model, rest, left)] = late.engine.call(late.pool.board.read(str(backend.id)))
    assert (model, rest) == ("tiny-chat", 1.0)
    assert left <= 1.0
    assert first.pool.board.tripped


def test_without_redis_each_gateway_has_breakers_of_its_own(
    start_upstream: Start, open_gateway: Callable[..., Gateway]
) -> None:
    upstream = start_upstream(status=500)
    nobody = BreakerStore(redis_client.connect("redis://127.0.0.1:1/0"))
    gateway = open_gateway(registered(upstream, "gpu"), board=BreakerBoard(nobody, ThreadPoolExecutor(1)))
    open_breaker(gateway)
    upstream.switches.status = 200
    assert isinstance(gateway.submit().ending, Finished)
    assert state_in(gateway) == "closed"


def test_a_healthy_backend_costs_no_word_to_redis(
    start_upstream: Start, open_gateway: Callable[..., Gateway]
) -> None:
    store = BreakerStore(redis_client.connect("redis://127.0.0.1:1/0"))
    threads = ThreadPoolExecutor(1)
    gateway = open_gateway(registered(start_upstream(), "gpu"), board=BreakerBoard(store, threads))
    gateway.finish()
    threads.shutdown()
    gateway.finish()  # who asked Redis now would fail
    assert not threads._threads, "no thread was ever needed"
