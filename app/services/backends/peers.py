"""The peers that this platform's own peer process knows. Knows no HTTP of ours; the peer process is asked
over loopback."""

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from app.backends.peer_door import NO_PEER, find_door
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient, CallFailed
from app.services.people.access import Principal

ANSWER_SECONDS = 5.0
LONGEST_ANSWER = 16_000_000


@dataclass(frozen=True, slots=True)
class PeerOverview:
    """`error`: why nothing is known, "" when something is; `values` are the peer process's own words."""

    error: str
    values: dict[str, Any]


class Peers:
    """`folder`: the platform's, on the machine of the API and of the peer process."""

    def __init__(self, folder: Path, policy: AddressPolicy) -> None:
        self._folder, self._policy = folder, policy

    async def describe(self, principal: Principal) -> PeerOverview:
        """To be awaited on the API's event loop. Raises Forbidden for all but administrators."""
        principal.need_operator("see peers")
        door = find_door(self._folder)
        if door is None:
            return PeerOverview(f"This machine {NO_PEER}.", {})
        client = AsyncGuardedClient(self._policy, 1)
        headers = {"Authorization": f"Bearer {door.token}"}
        try:
            url = f"{door.url}/peers"
            async with client.stream("GET", url, silence=ANSWER_SECONDS, headers=headers) as answer:
                values = orjson.loads(await answer.read(LONGEST_ANSWER))
            if answer.status != HTTPStatus.OK:
                return PeerOverview(f"The peer process of this machine answered {answer.status}.", {})
            return PeerOverview("", values)
        except (CallFailed, orjson.JSONDecodeError) as error:
            return PeerOverview(f"The peer process of this machine {error}.", {})
        finally:
            await client.close()
