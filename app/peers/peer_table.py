"""The peers that are known, and how each did lately. Knows no network; `now` is in seconds of one clock that
never goes back."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from app.domain.peers import (
    EXCHANGE_SECONDS,
    MOST_ADDRESSES,
    MOST_PEERS,
    PEER_ID,
    Capabilities,
    PeerFacts,
    rank_peers,
)

ERROR_SHARE = 0.3  # of a new call in the rate of errors


@dataclass(slots=True, eq=False)
class Peer:
    """`seen_at`: when it said last what it can do; None: not since something went wrong."""

    id: str
    addresses: tuple[str, ...] = ()
    capabilities: Capabilities = field(default_factory=Capabilities)
    seen_at: float | None = None
    in_flight: int = 0
    calls: int = 0
    failures: int = 0
    error_rate: float = 0.0
    last_failure: str = ""

    def add_addresses(self, addresses: Collection[str]) -> None:
        """The latest first; the oldest are forgotten."""
        self.addresses = tuple(dict.fromkeys((*addresses, *self.addresses)))[:MOST_ADDRESSES]


class PeerTable:
    """`own` is this peer's id; of `allowed` peers only, if there are any."""

    def __init__(self, own: str, allowed: Collection[str], silence: float) -> None:
        self._own, self._allowed = own, frozenset(allowed)
        self._lost_after = EXCHANGE_SECONDS + silence
        self.peers: dict[str, Peer] = {}

    def learn(self, id_: str, addresses: Collection[str] = ()) -> Peer | None:
        """A peer that somebody has named; None for one that is not to be known."""
        if id_ == self._own or not PEER_ID.fullmatch(id_) or (self._allowed and id_ not in self._allowed):
            return None
        peer = self.peers.get(id_)
        if peer is None:
            if len(self.peers) >= MOST_PEERS and not self._forget_one():
                return None
            peer = self.peers[id_] = Peer(id_)
        peer.add_addresses(addresses)
        return peer

    def _forget_one(self) -> bool:
        """The oldest of those that do not say what they can do; whether there was one."""
        away = [peer for peer in self.peers.values() if peer.seen_at is None and not peer.in_flight]
        if away:
            del self.peers[away[0].id]
        return bool(away)

    def knows(self, peer: Peer) -> bool:
        """Whether it is not forgotten."""
        return self.peers.get(peer.id) is peer

    def on_exchange(self, peer: Peer, capabilities: Capabilities, now: float) -> None:
        peer.capabilities, peer.seen_at = capabilities, now
        peer.add_addresses(capabilities.addresses)

    def on_answer(self, peer: Peer) -> None:
        """A call went well."""
        peer.calls += 1
        peer.error_rate *= 1 - ERROR_SHARE

    def on_failure(self, peer: Peer, sentence: str) -> None:
        """A call did not: it gets no other until it has said again what it can do."""
        self.on_refusal(peer, sentence)
        peer.seen_at = None

    def on_refusal(self, peer: Peer, sentence: str) -> None:
        """It is there, and does not do what it has offered: others go before it."""
        peer.calls, peer.failures = peer.calls + 1, peer.failures + 1
        peer.error_rate += (1 - peer.error_rate) * ERROR_SHARE
        peer.last_failure = sentence

    def is_reachable(self, peer: Peer, now: float) -> bool:
        return peer.seen_at is not None and now - peer.seen_at < self._lost_after

    def rank(self, model: str, only: Collection[str], now: float) -> list[str]:
        """Who may have a prediction of the model, the best first."""
        facts = [
            PeerFacts(
                peer.id, self.is_reachable(peer, now), peer.capabilities, peer.in_flight, peer.error_rate
            )
            for peer in self.peers.values()
        ]
        return rank_peers(facts, model, only)

    def reachable_addresses(self, now: float) -> dict[str, tuple[str, ...]]:
        """For others who may not know them yet."""
        return {
            peer.id: peer.addresses
            for peer in self.peers.values()
            if self.is_reachable(peer, now) and peer.addresses
        }

    def describe(self, now: float) -> list[dict[str, Any]]:
        """For people."""
        return [
            {
                "id": peer.id,
                "name": peer.capabilities.name,
                "state": "reachable" if self.is_reachable(peer, now) else "unreachable",
                "addresses": list(peer.addresses),
                "models": [asdict(each) for each in peer.capabilities.models],
                "running": peer.capabilities.running,
                "limit": peer.capabilities.limit,
                "in_flight": peer.in_flight,
                "calls": peer.calls,
                "failures": peer.failures,
                "last_failure": peer.last_failure,
                "silent_seconds": None if peer.seen_at is None else round(now - peer.seen_at, 1),
            }
            for peer in sorted(self.peers.values(), key=lambda each: each.id)
        ]
