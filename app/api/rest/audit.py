"""The audit log, for administrators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, Limit, ServicesDep, in_utc, link
from app.api.problems import declared
from app.api.rest.wire import PageOut
from app.domain.errors import wrong_field

router = APIRouter(tags=["Accounts"], route_class=CheckedRoute)


class AuditOut(BaseModel):
    """One act: who (`username` as it was given), what, to what, and whence."""

    id: int
    at: datetime
    action: str
    username: str
    target: str
    address: str
    request_id: str
    details: dict[str, Any]


@router.get(
    "/v1/audit", operation_id="audit.list", summary="Read the audit log", responses=declared(401, 403, 422)
)
def list_audit(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    cursor: Annotated[str | None, Query(max_length=30, description="From `next` of another page.")] = None,
    limit: Limit = 100,
    action: Annotated[
        str | None, Query(max_length=64, pattern=r"^[a-z._]+$", description="e.g. login.failed")
    ] = None,
    username: Annotated[
        str | None, Query(max_length=320, pattern=r"^[^\x00]+$", description="As it was given.")
    ] = None,
    since: datetime | None = None,
) -> PageOut[AuditOut]:
    """Logins, keys, accounts and administrators' acts, newest first. Administrators only."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and int(cursor) < 2**63):
        raise wrong_field("cursor", "is not one of this list", "format")
    entries = services.people.audit.page(
        caller,
        before=int(cursor) if cursor else None,
        limit=limit + 1,
        action=action,
        username=username,
        since=in_utc("since", since),
    )
    results = [AuditOut.model_validate(entry, from_attributes=True) for entry in entries[:limit]]
    after = str(results[-1].id) if len(entries) > limit else None
    return PageOut(previous=None, next=link(request, after, "next"), results=results)
