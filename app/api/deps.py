"""What routes need from the process and from the request: the services, the caller, the base URL, page parameters."""

import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request

from app.domain.errors import InvalidRequest
from app.services.access import Access, Principal
from app.services.accounts import Accounts
from app.services.assembly import Assembly
from app.services.catalogue import Catalogue
from app.services.data_removal import DataRemoval
from app.services.delivery_log import DeliveryLog
from app.services.files import Files
from app.services.health import Health
from app.services.runnable import Runnables
from app.settings import Settings

HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(?::\d{1,5})?\Z|\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?\Z")


@dataclass(slots=True)
class Services:
    """The one container of a process's services; built by app/main.py."""

    settings: Settings
    assembly: Assembly
    access: Access
    accounts: Accounts
    catalogue: Catalogue
    runnables: Runnables
    files: Files
    deliveries: DeliveryLog
    health: Health
    removal: DataRemoval


def services_of(request: Request) -> Services:
    """The process's services."""
    found: Services = request.app.state.services
    return found


async def caller_of(request: Request) -> Principal:
    """Who calls. Raises Unauthenticated."""
    return await services_of(request).access.principal(request.headers.get("authorization"))


def scoped(scope: str) -> Any:
    """A dependency: the caller, who must have this scope."""

    async def caller(request: Request) -> Principal:
        found = await caller_of(request)
        found.need(scope)
        return found

    return Depends(caller)


def base_url(request: Request) -> str:
    """How the caller reaches us: PUBLIC_URL, or the request's own Host (only if it looks like one)."""
    public = services_of(request).settings.public_url
    if public:
        return public
    host = request.headers.get("host") or "localhost"
    if not HOST.match(host):
        raise InvalidRequest("The Host header is not a host.")
    return f"{request.scope['scheme']}://{host}"


def link(request: Request, cursor: str | None) -> str | None:
    """The absolute URL of a page beside this one: the same query with another cursor."""
    if cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{base_url(request)}{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"


Lovage = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(caller_of)]
CanPredict = Annotated[Principal, scoped("predict")]
CanModel = Annotated[Principal, scoped("models")]
Base = Annotated[str, Depends(base_url)]
Cursor = Annotated[str | None, Query(description="From `next` or `previous` of another page.", max_length=500)]
Limit = Annotated[int, Query(description="Results on a page.", ge=1, le=100)]
