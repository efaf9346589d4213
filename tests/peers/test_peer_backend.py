"""Peers as a backend: the kind p2p, over real peers, as a gateway worker has it; and what the API says."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peer_nodes import PeerNode
from waiting import eventually

from app.backends.base import BackendAddress, BackendCall, Machine
from app.backends.peer_network import PeerNetwork
from app.backends.registry import find
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.work import Chunk, Finished, Log
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient
from app.outbound.guard import Refused

MODEL = "ada/words"
SHARED = {"shared_key": "5a" * 32}
LOOPBACK = AddressPolicy(allow_private=True)


def open_backend(folder: Path, url: str = "peers:any") -> PeerNetwork:
    kind = find("p2p")
    kind.check_url(url, LOOPBACK)
    address = BackendAddress(url, "", 20.0, {}, "net", Machine(folder))
    opened = kind(address, AsyncGuardedClient(LOOPBACK, 8))
    assert isinstance(opened, PeerNetwork)
    return opened


async def events_of(backend: PeerNetwork, **values: Any) -> list[Any]:
    return [event async for event in backend.run(BackendCall(MODEL, "prediction", values))]


@pytest.fixture
def pair(start_peer: Callable[..., PeerNode], serving: Callable[..., dict[str, Any]]) -> list[PeerNode]:
    """One that asks, and one that serves."""
    other = start_peer("other", **SHARED, **serving(pause=0.02))
    own = start_peer("own", **SHARED, bootstrap=other.addresses, silence=3.0)
    eventually(lambda: own.reaches("other"))
    return [own, other]


@pytest.mark.timeout(240)
async def test_a_backend_of_peers_lists_runs_streams_and_names_who_did_it(pair: list[PeerNode]) -> None:
    backend = open_backend(pair[0].folder.parent)
    await backend.check()
    (model,) = await backend.list_models()
    assert (model.name, model.streams) == (MODEL, True)
    assert set(model.inputs["properties"]) == {"words", "text"}
    *chunks, last = await events_of(backend, words=30)
    assert [chunk.data for chunk in chunks] == [f"w{number} " for number in range(30)]
    assert last == Finished([chunk.data for chunk in chunks], {"output_tokens": 30, "peer": "other"})
    assert (await events_of(backend, text="x"))[-1].output == "x"
    with pytest.raises(UpstreamFailed, match="must be positive") as failure:
        await events_of(backend, words=-1)
    assert failure.value.fault is Fault.INPUT
    with pytest.raises(UpstreamFailed, match="reaches none"):
        await open_backend(pair[0].folder.parent, "peers:somebody").check()
    await backend.close()


async def run_and_signal(backend: PeerNetwork, serving: PeerNode, number: int, events: list[Any]) -> None:
    """The signal is sent when there is output; then there would be much more."""
    async for event in backend.run(BackendCall(MODEL, "prediction", {"words": 10_000})):
        if not events:
            serving.process.send_signal(number)
        events.append(event)


@pytest.mark.timeout(240)
async def test_a_peer_that_dies_or_hangs_in_the_middle_ends_it_with_a_failure(pair: list[PeerNode]) -> None:
    backend = open_backend(pair[0].folder.parent, "peers:other")
    for number in (signal.SIGSTOP, signal.SIGKILL):
        events = list[Any]()
        with pytest.raises(UpstreamFailed, match=r"peer other (said nothing|broke off)"):
            await run_and_signal(backend, pair[1], number, events)
        assert {type(event) for event in events} == {Chunk, Log}
        pair[1].process.send_signal(signal.SIGCONT)
        if number == signal.SIGSTOP:
            eventually(lambda: pair[0].reaches("other"))
    await backend.close()


@pytest.mark.parametrize(
    "url", ["peers:", "peers:any,", "http://127.0.0.1", "peers:a b", "peers:" + "a," * 20 + "a"]
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        PeerNetwork.check_url(url, LOOPBACK)


async def test_without_a_peer_process_it_says_what_starts_one(tmp_path: Path) -> None:
    backend = open_backend(tmp_path)
    with pytest.raises(UpstreamFailed, match="lovage peer"):
        await backend.check()
    with pytest.raises(UpstreamFailed, match="lovage peer"):
        await events_of(backend, text="x")
