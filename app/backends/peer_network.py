"""Other platforms, over libp2p: what their models are is run there, by whichever peer has room for it. The
peer process of this machine speaks to them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from app.backends.base import BackendCall
from app.backends.http_kind import CHECK_SECONDS, LONGEST_ANSWER, HttpKind, parse_json
from app.backends.lovage_server import PREDICTION, own_inputs
from app.backends.peer_door import NO_PEER, PeerDoor, find_door
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.peers import PEER_ID
from app.domain.versions import is_name
from app.domain.work import Chunk, Event, Finished, Log
from app.observe import metrics
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import Answer, CallFailed
from app.outbound.guard import Refused

START = "peers:"
ANY = "any"
MOST_NAMED = 16


class PeerNetwork(HttpKind):
    """Its address is `peers:any`, or `peers:NAME,ID` with the names or ids of some."""

    tasks: ClassVar[tuple[str, ...]] = (PREDICTION,)

    @classmethod
    def check_url(cls, url: str, policy: AddressPolicy) -> None:
        names = url.removeprefix(START).split(",")
        is_named = all(is_name(each) or PEER_ID.fullmatch(each) for each in names)
        if not url.startswith(START) or not is_named or len(names) > MOST_NAMED:
            raise Refused("must be peers:any, or peers:NAME,NAME with up to 16 names or ids of peers")

    @property
    def _only(self) -> list[str]:
        names = self.address.url.removeprefix(START)
        return [] if names == ANY else names.split(",")

    def _door(self) -> PeerDoor:
        door = find_door(self.address.machine.folder)
        if door is None:
            raise UpstreamFailed(NO_PEER)
        return door

    def url(self, path: str) -> str:
        """Of the peer process beside this one."""
        return self._door().url + path

    def headers(self) -> dict[str, str]:
        own = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "Lovage"}
        return {**own, "Authorization": f"Bearer {self._door().token}"}

    async def _reachable(self) -> list[Mapping[str, Any]]:
        """The peers that this backend means."""
        known = (await self.ask_object("GET", self.url("/peers"), silence=CHECK_SECONDS))["peers"]
        only = self._only
        meant = [peer for peer in known if not only or peer["id"] in only or peer["name"] in only]
        reachable = [peer for peer in meant if peer["state"] == "reachable"]
        metrics.PEERS.labels(self.address.name, "reachable").set(len(reachable))
        metrics.PEERS.labels(self.address.name, "unreachable").set(len(meant) - len(reachable))
        return reachable

    async def check(self) -> None:
        if not await self._reachable():
            raise UpstreamFailed("reaches none of its peers")

    async def list_models(self) -> Sequence[ServedModel]:
        """Each once, whoever serves it."""
        names = dict.fromkeys(model["name"] for peer in await self._reachable() for model in peer["models"])
        return [await self._served(name) for name in names]

    async def _served(self, name: str) -> ServedModel:
        body = {"model": name, "peers": self._only}
        shown = await self.ask_object(
            "POST", self.url("/describe"), body, silence=self.address.silence_seconds
        )
        schemas = shown["schemas"]
        outputs = {key: value for key, value in schemas["Output"].items() if key != "title"}
        return ServedModel(
            name, PREDICTION, inputs=own_inputs(schemas), outputs=outputs, streams=bool(shown["streams"])
        )

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """Signs of life come every second, so that silence is the peer process's own."""
        body = {"model": call.model, "input": call.input, "peers": self._only}
        pieces = list[Any]()
        async with self.open("POST", self.url("/predictions"), body) as answer:
            async for line in read_lines(answer):
                message = parse_json(line)
                if "piece" in message:
                    pieces.append(message["piece"])
                    yield Chunk(message["piece"])
                elif "failed" in message:
                    metrics.PEER_CALLS.labels("failed").inc()
                    yield Log(f"{message['reason']}\n")
                elif message.get("done") or "error" in message:
                    yield ending_of(message, pieces)
                    return
        raise UpstreamFailed("ended without an answer")


def ending_of(message: Mapping[str, Any], pieces: list[Any]) -> Finished:
    """Raises UpstreamFailed for one that did not succeed."""
    if "error" in message:
        fault = Fault.__members__.get(str(message.get("fault")).upper(), Fault.BACKEND)
        raise UpstreamFailed(str(message["error"])[:500], fault)
    metrics.PEER_CALLS.labels("succeeded").inc()
    peer = message.get("peer_name") or message.get("peer")
    return Finished(message.get("output", pieces), {**(message.get("metrics") or {}), "peer": peer})


async def read_lines(answer: Answer) -> AsyncIterator[bytes]:
    """Each line of the body. Raises UpstreamFailed."""
    rest = bytearray()
    try:
        async for block in answer.blocks():
            *lines, tail = block.split(b"\n")
            for line in lines:
                rest += line
                yield bytes(rest)
                rest.clear()
            rest += tail
            if len(rest) > LONGEST_ANSWER:
                raise UpstreamFailed(f"answered more than {LONGEST_ANSWER} bytes")
    except CallFailed as error:
        raise UpstreamFailed(str(error)) from error
