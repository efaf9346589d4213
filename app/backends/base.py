"""What a backend is to those who call it. It runs on one event loop; it decides nothing about retries, choice
or health."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from app.domain.backends import DEFAULT_SILENCE_SECONDS, ServedModel
from app.domain.work import Event
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient
from app.outbound.guard import Refused, check_url

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a kind that starts programs has of the machine it is on: the platform's `folder`, the name `host`,
    the memory that is free and that there is on a device, by the device's name, and a port."""

    folder: Path = Path()
    host: str = ""
    free_bytes: Callable[[str], int] = lambda _: 0
    total_bytes: Callable[[str], int] = lambda _: 0
    choose_port: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class BackendAddress:
    """Where it is and what opens it. `options` are the kind's own."""

    url: str
    credential: str = field(default="", repr=False)
    silence_seconds: float = DEFAULT_SILENCE_SECONDS
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    machine: Machine = Machine()


@dataclass(frozen=True, slots=True)
class BackendCall:
    """One prediction for a backend: what the model is called there, the version's task, the checked input."""

    model: str
    task: str
    input: JsonObject


class BackendKind(ABC):
    """One backend. Every method raises `UpstreamFailed`, and nothing else that is to be expected; cancelling
    the task that awaits it ends the call upstream."""

    # JSON Schemas of the `options` that it takes.
    options: ClassVar[JsonObject] = {}
    tasks: ClassVar[tuple[str, ...]]
    # Whether its server has to be started first; then `not_ready` says why no call can be made now.
    is_started_here: ClassVar[bool] = False
    not_ready: str = ""

    def __init__(self, address: BackendAddress, client: AsyncGuardedClient) -> None:
        self.address, self.client = address, client
        self.on_ready: Callable[[], None] = lambda: None  # a call can be made from now on

    def want(self) -> None:  # noqa: B027 - most kinds need no start
        """A prediction that may run here waits, and no call can be made now."""

    async def close(self) -> None:
        """Nothing is called any more."""
        await self.client.close()

    @classmethod
    def check_url(cls, url: str, policy: AddressPolicy) -> None:
        """Raises Refused for an address that is none of this kind's."""
        check_url(url, policy)
        if "?" in url or "#" in url:
            raise Refused("must have no query and no fragment")

    @abstractmethod
    async def check(self) -> None:
        """Whether it answers; loads no model."""

    @abstractmethod
    async def list_models(self) -> Sequence[ServedModel]:
        """What it says that it serves."""

    @abstractmethod
    def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """The prediction's events: any number of Chunk, Log and Progress, then one Finished. An answer that
        was cut off is never a Finished."""
