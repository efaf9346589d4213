"""What peers say to each other, and which of them gets a prediction. Plain data and pure rules: knows no
network and no clock.

A message is JSON, cut into frames of at most 256 kB; a frame begins with one byte, 1 in a message's last one.
On the wire a frame has its length before it, as libp2p writes it (unsigned varint).
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CAPABILITIES = "/lovage/capabilities/1.0.0"
PREDICT = "/lovage/predict/1.0.0"
FRAME_BYTES = 256_000  # libp2p 0.8 gives a larger message up after a hundred partial reads
MOST_BYTES = 32_000_000  # of one message
MORE = b"\x00"
LAST = b"\x01"
BEAT_SECONDS = 1.0  # between signs of life while a prediction runs
EXCHANGE_SECONDS = 2.0  # between exchanges of capabilities
MOST_TRIES = 3  # peers that one prediction is sent to
MOST_MODELS = 500
MOST_PEERS = 64
MOST_ADDRESSES = 16
PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")  # base58
# Whose fault a failure is, as domain/backend_retry.py has it.
INPUT = "input"
MODEL = "model"
BUSY = "busy"
SETUP = "setup"
BACKEND = "backend"
ELSEWHERE = (BUSY, SETUP, BACKEND)  # another peer may do better


class BadMessage(Exception):
    """What a peer said is none of its messages. The sentence goes on after the peer's name."""


def cut(message: bytes) -> Iterator[bytes]:
    """The frames of a message. Raises BadMessage for one that is too long."""
    if len(message) > MOST_BYTES:
        raise BadMessage(f"would have to take a message of more than {MOST_BYTES} bytes")
    step = FRAME_BYTES - 1
    last = max(0, (len(message) - 1) // step)
    for number in range(last + 1):
        part = message[number * step : (number + 1) * step]
        yield (LAST if number == last else MORE) + part


class Joiner:
    """Puts the frames of messages together again."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def add(self, frame: bytes) -> bytes | None:
        """The message that ends with this frame, or None. Raises BadMessage."""
        mark, part = frame[:1], frame[1:]
        if mark not in (MORE, LAST):
            raise BadMessage("sent a frame without its mark")
        if len(self._parts) + len(part) > MOST_BYTES:
            raise BadMessage(f"sent a message of more than {MOST_BYTES} bytes")
        self._parts += part
        if mark == MORE:
            return None
        message = bytes(self._parts)
        self._parts.clear()
        return message


@dataclass(frozen=True, slots=True)
class PeerModel:
    """`version` is the hash of its content, the same on every platform that has the same."""

    name: str
    version: str
    task: str = ""
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a peer says of itself. It runs `running` predictions of peers, `limit` at most; `peers` are the
    addresses of those that it reaches."""

    name: str = ""
    models: tuple[PeerModel, ...] = ()
    running: int = 0
    limit: int = 0
    addresses: tuple[str, ...] = ()
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is sent."""
        return asdict(self)

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> "Capabilities":
        """What is too much of it is left out. Raises BadMessage."""
        try:
            peers = list(message.get("peers", {}).items())[:MOST_PEERS]
            return cls(
                name=str(message.get("name", ""))[:64],
                models=tuple(_model(each) for each in message.get("models", ())[:MOST_MODELS]),
                running=max(0, int(message.get("running", 0))),
                limit=max(0, int(message.get("limit", 0))),
                addresses=_addresses(message.get("addresses", ())),
                peers={peer: _addresses(each) for peer, each in peers if PEER_ID.fullmatch(peer)},
            )
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise BadMessage("does not say what it can do in this protocol's form") from error


def _model(message: Mapping[str, Any]) -> PeerModel:
    return PeerModel(
        str(message["name"])[:140],
        str(message.get("version", ""))[:64],
        str(message.get("task", ""))[:64],
        bool(message.get("streams", False)),
    )


def _addresses(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(each)[:300] for each in list(values)[:MOST_ADDRESSES])


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """A peer at one moment, for choosing. `error_rate`: 0 to 1, of its last calls; `in_flight`: from here."""

    id: str
    is_reachable: bool
    capabilities: Capabilities
    in_flight: int = 0
    error_rate: float = 0.0

    def serves(self, model: str) -> bool:
        """`model` is owner/name, or owner/name:version."""
        name, _, version = model.partition(":")
        return any(each.name == name and version in ("", each.version) for each in self.capabilities.models)

    @property
    def load(self) -> float:
        """How full it is: 1, it takes nothing more."""
        running = max(self.capabilities.running, self.in_flight)
        return running / self.capabilities.limit if self.capabilities.limit else 1.0


def rank_peers(peers: Iterable[PeerFacts], model: str, only: Collection[str] = ()) -> list[str]:
    """Ids of those that may have a prediction of the model, the best first: the least loaded, then those
    whose calls went well. `only`: ids or names; empty: any."""
    able = [
        peer
        for peer in peers
        if peer.is_reachable
        and peer.serves(model)
        and (not only or peer.id in only or peer.capabilities.name in only)
    ]
    return [peer.id for peer in sorted(able, key=lambda peer: (peer.load + peer.error_rate, peer.id))]
