"""Finds peers and keeps in touch: each says every other second what it can do, and whom it reaches."""

from collections.abc import Callable
from typing import Any

import trio
from libp2p.discovery.events.peerDiscovery import peerDiscovery
from libp2p.discovery.mdns.mdns import create_mdns_discovery

from app.domain.peers import CAPABILITIES, EXCHANGE_SECONDS, BadMessage, Capabilities
from app.peers.messages import MessageStream, PeerFailed, PeerSilent
from app.peers.node import Node, report
from app.peers.peer_table import Peer

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 5.0  # between tries to reach a peer
LOOK_SECONDS = 0.2  # for peers that are new
SILENCES_TO_HANG_UP = 3


class Discovery:
    """`run` once; `on_exchange` is called for each stream of a peer that says what it can do."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._kept: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        for address in self._node.options.bootstrap:
            self._node.table.learn(address.rpartition("/p2p/")[2], (address,))
        async with trio.open_nursery() as nursery:
            if self._node.options.mdns:
                nursery.start_soon(self._use_mdns)
            while True:
                for peer in list(self._node.table.peers.values()):
                    if peer.id not in self._kept:
                        self._kept.add(peer.id)
                        nursery.start_soon(self._keep, peer)
                await trio.sleep(LOOK_SECONDS)

    async def _keep(self, peer: Peer) -> None:
        misses = silences = 0
        wait = FIRST_WAIT_SECONDS
        while self._node.table.knows(peer):
            try:
                await self._exchange(peer)
                if misses:
                    report("peer_reached", id=peer.id, name=peer.capabilities.name)
                misses = silences = 0
                wait = FIRST_WAIT_SECONDS
                await trio.sleep(EXCHANGE_SECONDS)
            except PeerFailed as error:
                misses += 1
                peer.last_failure = error.sentence
                if misses == 1:
                    report("peer_missed", id=peer.id, reason=error.sentence)
                silences += error.is_silence
                if silences == SILENCES_TO_HANG_UP:  # not at a refusal: what it has asked for goes on
                    await self._node.hang_up(peer.id)
                    silences = 0
                await trio.sleep(wait)
                wait = min(LONGEST_WAIT_SECONDS, wait * 2)
        self._kept.discard(peer.id)

    async def _exchange(self, peer: Peer) -> None:
        """Raises PeerFailed."""
        messages = await self._node.open(peer.id, peer.addresses, CAPABILITIES)
        try:
            with trio.fail_after(self._node.options.silence):
                await messages.send(self._node.capabilities().as_json())
                self._note(peer, await messages.receive())
            await messages.close()
        except trio.TooSlowError:
            await messages.reset()
            raise PeerSilent(f"said nothing for {self._node.options.silence:g} s") from None
        except PeerFailed:
            await messages.reset()
            raise

    async def on_exchange(self, stream: Any) -> None:
        """A peer says what it can do, and is answered. It never raises: libp2p would end the node."""
        messages = MessageStream(stream)
        peer = self._node.table.learn(messages.peer) if self._node.is_allowed(messages.peer) else None
        if peer is None:
            await messages.reset()
            return
        try:
            with trio.fail_after(self._node.options.silence):
                self._note(peer, await messages.receive())
                await messages.send(self._node.capabilities().as_json())
            await messages.close()
        except (trio.TooSlowError, PeerFailed):
            await messages.reset()

    def _note(self, peer: Peer, message: dict[str, Any]) -> None:
        try:
            capabilities = Capabilities.from_json(message)
        except BadMessage as error:
            raise PeerFailed(str(error)) from error
        self._node.table.on_exchange(peer, capabilities, trio.current_time())
        for id_, addresses in capabilities.peers.items():
            self._node.table.learn(id_, addresses)

    async def _use_mdns(self) -> None:
        """As libp2p does it. Where there is no multicast, the other ways to find peers are left."""
        token = trio.lowlevel.current_trio_token()
        addresses = [each.rpartition("/p2p/")[0] for each in self._node.addresses()]
        peerDiscovery.register_peer_discovered_handler(self._on_found(token))
        try:
            mdns = create_mdns_discovery(
                self._node.host.get_network(),
                listen_addrs=addresses,
                private_network_fingerprint=self._node.options.network,
            )
            await trio.to_thread.run_sync(mdns.broadcaster.register)
        except Exception as error:  # noqa: BLE001 - zeroconf's and the system's, of any kind
            report("mdns_not_started", reason=f"{type(error).__name__}: {error}"[:200])
            return
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(mdns.stop)

    def _on_found(self, token: Any) -> Callable[[Any], None]:
        """What zeroconf calls, on threads of its own."""

        def learn(info: Any) -> None:
            addresses = tuple(f"{each}/p2p/{info.peer_id}" for each in info.addrs)
            token.run_sync_soon(self._node.table.learn, str(info.peer_id), addresses)

        return learn
