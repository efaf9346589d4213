"""A peer: its libp2p host, and what it knows of others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from libp2p import new_host
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID
from multiaddr import Multiaddr

from app.domain.peers import Capabilities, PeerModel
from app.peers.gate import GatedNoise
from app.peers.identity import load_or_make
from app.peers.messages import MessageStream, PeerFailed, PeerSilent
from app.peers.peer_table import PeerTable

IDENTITY_FILE = "identity"


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What the launcher says. `folder` is the peer's own; without an `api_key` nothing is served; `network`
    is what mDNS calls this network."""

    folder: str
    listen: tuple[str, ...]
    public_addresses: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    mdns: bool = False
    network: str = ""
    allowed: tuple[str, ...] = ()
    shared_key: str = field(default="", repr=False)
    name: str = ""
    api_url: str = ""
    api_key: str = field(default="", repr=False)
    models: tuple[str, ...] = ()
    limit: int = 8
    silence: float = 5.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "NodeOptions":
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


def report(event: str, **fields: Any) -> None:
    """A line for the launcher's log."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Node:
    """`offered` and `running` are what it says of itself."""

    def __init__(self, options: NodeOptions) -> None:
        keys = load_or_make(Path(options.folder) / IDENTITY_FILE)
        self.options = options
        self.host = new_host(
            key_pair=keys,
            muxer_preference="YAMUX",  # mplex hangs at 300 kB
            sec_opt={PROTOCOL_ID: GatedNoise(keys, options.allowed)},
            psk=options.shared_key or None,
            announce_addrs=[Multiaddr(each) for each in options.public_addresses] or None,
        )
        self.id = str(self.host.get_id())
        self.table = PeerTable(self.id, options.allowed, options.silence)
        self.offered: tuple[PeerModel, ...] = ()
        self.running = 0

    def addresses(self) -> list[str]:
        """Where others reach it."""
        return [str(each) for each in self.host.get_addrs()]

    def capabilities(self) -> Capabilities:
        """What it says of itself now."""
        return Capabilities(
            self.options.name,
            self.offered,
            self.running,
            self.options.limit if self.options.api_key else 0,
            tuple(self.addresses()),
            self.table.reachable_addresses(trio.current_time()),
        )

    def is_allowed(self, peer: str) -> bool:
        """The handshake has refused others; asked once more where work is done."""
        return not self.options.allowed or peer in self.options.allowed

    async def open(self, peer: str, addresses: tuple[str, ...], protocol: str) -> MessageStream:
        """A stream to a peer. Raises PeerFailed; ends within `silence` seconds."""
        try:
            with trio.fail_after(self.options.silence):
                info = peer_info(peer, addresses)
                self.host.get_network().unblock_peer(info.peer_id)  # it would refuse to dial for a minute
                await self.host.connect(info)
                return MessageStream(await self.host.new_stream(info.peer_id, [protocol]))
        except trio.TooSlowError:
            raise PeerSilent(f"took no call within {self.options.silence:g} s") from None
        except Exception as error:  # what a dial may raise is not listed anywhere
            raise PeerFailed(f"cannot be reached ({type(error).__name__})") from error

    async def hang_up(self, peer: str) -> None:
        """Its connections are not used any more; the next call makes new ones. Never raises."""
        with trio.move_on_after(1):
            try:
                await self.host.disconnect(peer_info(peer, ()).peer_id)
            except Exception:  # noqa: BLE001 - there may be none
                return


def peer_info(peer: str, addresses: tuple[str, ...]) -> Any:
    """For libp2p. Raises its errors for what is no address."""
    plain = [each for each in addresses if each.endswith(f"/p2p/{peer}")]
    info = info_from_p2p_addr(Multiaddr((plain or [f"/ip4/127.0.0.1/tcp/1/p2p/{peer}"])[0]))
    info.addrs[:] = [info_from_p2p_addr(Multiaddr(each)).addrs[0] for each in plain]
    return info
