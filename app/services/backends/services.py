"""The services about backends, as an API process has them."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from app.backends.base import Machine
from app.backends.credentials import CredentialSealer
from app.db.session import Database
from app.domain.backends import Backend, ServedModel
from app.domain.errors import Unavailable, wrong_field
from app.domain.hybrid import HYBRID
from app.outbound.addresses import AddressPolicy
from app.services.backends.connector import BackendConnector, BackendTest, try_out
from app.services.backends.peers import Peers
from app.services.backends.registry import Backends
from app.services.backends.set_members import try_out_members
from app.services.backends.targets import TargetFacts, Targets


@dataclass(frozen=True, slots=True)
class BackendServices:
    """What is registered, and how it is called."""

    registry: Backends
    connector: BackendConnector
    targets: Targets
    peers: Peers

    async def try_out(self, backend: Backend) -> BackendTest:
        """Calls it once; of a set of others, each of them."""
        if backend.kind != HYBRID:
            return await try_out(self.connector, backend)
        listed = await asyncio.to_thread(self.registry.list_known)
        return await try_out_members(self.connector, backend, [each.backend for each in listed])

    async def discover(self, backend: Backend, names: Collection[str] | None) -> list[ServedModel]:
        """What it serves now. Raises Unavailable, and InvalidRequest for names that it does not serve."""
        result = await self.try_out(backend)
        if result.error:
            raise Unavailable(f"The backend {backend.name} {result.error}.", retry_after=5)
        served = {each.name for each in result.served}
        if unknown := [name for name in names or () if name not in served]:
            raise wrong_field("models", f"names what it does not serve: {unknown[0][:200]}")
        return result.served


def open_backends(
    database: Database, secret_key: str, policy: AddressPolicy, machine: Machine, facts: TargetFacts
) -> BackendServices:
    """Over these backends; `policy`: which addresses administrators may have us call."""
    sealer = CredentialSealer(secret_key)
    registry = Backends(database, sealer, policy)
    connector = BackendConnector(sealer, policy, machine)
    return BackendServices(registry, connector, Targets(registry, facts), Peers(machine.folder, policy))
