"""Calls a backend once, from the API: whether it answers, and what it serves. To be awaited on the API's
event loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.backends import registry as kinds
from app.backends.base import BackendAddress, BackendKind, Machine
from app.backends.credentials import CredentialSealer
from app.domain.backend_retry import UpstreamFailed
from app.domain.backends import Backend, ServedModel
from app.domain.errors import LovageError
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient

TEST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class BackendTest:
    """`error`: why it cannot be used, "" when it can."""

    error: str
    seconds: float
    served: list[ServedModel] = field(default_factory=list)


class BackendConnector:
    """Opens backends as they are registered: for a test, and for a gateway worker's calls."""

    def __init__(self, sealer: CredentialSealer, policy: AddressPolicy, machine: Machine) -> None:
        self._sealer, self._policy = sealer, policy
        self._machine = machine

    def open(self, backend: Backend) -> BackendKind:
        """On the event loop that will call it. Raises NotFound for an unknown kind, Unavailable for a
        credential that cannot be read."""
        address = BackendAddress(
            backend.url,
            self._sealer.unseal(backend.credential),
            backend.silence_seconds,
            backend.options,
            backend.name,
            self._machine,
        )
        client = AsyncGuardedClient(self._policy, backend.max_concurrency)
        return kinds.find(backend.kind)(address, client)

    @asynccontextmanager
    async def opened(self, backend: Backend) -> AsyncIterator[BackendKind]:
        server = self.open(backend)
        try:
            yield server
        finally:
            await server.close()


async def try_out(connector: BackendConnector, backend: Backend) -> BackendTest:
    """Never raises for what a backend does."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(TEST_SECONDS), connector.opened(backend) as server:
            await server.check()
            served = list(await server.list_models())
    except UpstreamFailed as error:
        return BackendTest(error.sentence, time.monotonic() - began)
    except LovageError as error:
        return BackendTest(error.detail, time.monotonic() - began)
    except TimeoutError:
        return BackendTest(f"did not answer within {TEST_SECONDS:g} s", time.monotonic() - began)
    return BackendTest("", time.monotonic() - began, served)
