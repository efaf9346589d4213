"""Who may connect: a peer that is not on the list gets no further than the handshake that says who it is."""

from collections.abc import Collection
from typing import Any

from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.transport import Transport


class GatedNoise(Transport):  # type: ignore[misc]
    """Noise, for `allowed` peers only; without any, for all (then a shared key guards the network)."""

    def __init__(self, key_pair: Any, allowed: Collection[str]) -> None:
        super().__init__(key_pair, noise_privkey=create_new_key_pair().private_key)
        self._allowed = frozenset(allowed)

    async def secure_inbound(self, conn: Any) -> Any:
        return await self._checked(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: Any, peer_id: Any) -> Any:
        return await self._checked(await super().secure_outbound(conn, peer_id))

    async def _checked(self, secured: Any) -> Any:
        if self._allowed and str(secured.get_remote_peer()) not in self._allowed:
            await secured.close()
            raise HandshakeFailure("the peer is not allowed")
        return secured
