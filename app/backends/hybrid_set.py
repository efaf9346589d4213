"""Other backends under one name. Nothing is called here: whoever has the registry puts the members in its
place."""

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from app.backends.base import BackendCall, BackendKind, JsonObject
from app.domain.backend_choice import STRATEGIES
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import CONDITION, ServedModel
from app.domain.hybrid import member_names
from app.domain.work import Event
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused

IS_A_SET = UpstreamFailed("is a set of others, which are called themselves", Fault.SETUP)


def _by_member(schema: JsonObject) -> JsonObject:
    return {"type": "object", "maxProperties": 16, "additionalProperties": schema}


class HybridSet(BackendKind):
    """Its address is `members:NAME,NAME`."""

    tasks: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[JsonObject] = {
        "strategy": {"type": "string", "enum": list(STRATEGIES)},
        "weights": _by_member({"type": "number", "minimum": 0.001, "maximum": 1_000}),
        "models": _by_member({"type": "string", "minLength": 1, "maxLength": 200}),
        "only_when": _by_member({"type": "string", "maxLength": 100, "pattern": CONDITION}),
    }

    @classmethod
    def check_url(cls, url: str, policy: AddressPolicy) -> None:
        if not member_names(url):
            raise Refused("must be members:NAME,NAME, the names of up to 16 other backends")

    async def check(self) -> None:
        raise IS_A_SET

    async def list_models(self) -> Sequence[ServedModel]:
        raise IS_A_SET

    def run(self, call: BackendCall) -> AsyncIterator[Event]:
        raise IS_A_SET
