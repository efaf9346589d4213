"""Commands about a model to the workers that could run it, whichever protocol they came by."""

from collections.abc import Sequence

from anyio.to_thread import run_sync
from fastapi import Request

from app.api.deps import note, services_of
from app.domain.errors import Unavailable
from app.domain.versions import Version
from app.events.model_commands import LOAD, PIN
from app.services.people.access import Principal


async def send_command(
    request: Request, caller: Principal, version: Version, action: str, workers: Sequence[str]
) -> None:
    """To all of these. Raises Unavailable where somebody must do it and nobody can."""
    if not workers:
        if action in (LOAD, PIN):
            raise Unavailable("No live worker could run this version.", retry_after=5)
        return
    await run_sync(services_of(request).model_commands.publish, action, version.id, workers)
    note(request, caller, f"version.{action}", version.id, workers=workers)
