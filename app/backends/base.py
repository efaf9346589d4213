"""What a backend is to those who call it. It runs on one event loop; it decides nothing about retries, choice
or health."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
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
class BackendAddress:
    """Where it is and what opens it. `options` are the kind's own; `programs` is this machine's folder of
    programs that may be run as backends."""

    url: str
    credential: str = field(default="", repr=False)
    silence_seconds: float = DEFAULT_SILENCE_SECONDS
    options: Mapping[str, Any] = field(default_factory=dict)
    programs: Path = Path("programs")


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

    def __init__(self, address: BackendAddress, client: AsyncGuardedClient) -> None:
        self.address, self.client = address, client

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
