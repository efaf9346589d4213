"""Registering a model or a version: what looks at the hub has threads and bounds of its own, so that a slow
hub keeps no thread that signing in, probes or lists need."""

from collections.abc import Callable
from typing import TypeVar

from anyio.to_thread import run_sync

from app.api.deps import Services
from app.services.catalogue.version_request import VersionRequest
from app.services.people.access import Principal

Answer = TypeVar("Answer")


async def run_registering(
    services: Services, caller: Principal, version: VersionRequest | None, register: Callable[[], Answer]
) -> Answer:
    """`register` on a thread. Raises TooMany for one caller's third look-up at once."""
    if version is None or not version.source.startswith("hf:"):
        return await run_sync(register)
    with services.hub_lookups.enter(str(caller.user_id)):
        return await run_sync(register, limiter=services.hub_threads)
