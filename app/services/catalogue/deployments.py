"""Deployments: a user's own names for a version of a model, so that what runs can be changed without its
callers. Knows no HTTP.

A deployment is its owner's alone. Instances are on record and start nothing: how many workers there are is
the operator's. Calls block (SQL): use threads.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import deployments as table
from app.db.session import Database
from app.domain.deployments import Deployment, NewDeployment
from app.domain.errors import Conflict, Gone, NotFound, wrong_field
from app.domain.pages import Page
from app.domain.routing import CLASS_ORDER
from app.domain.versions import NAME_RULE, RunnableVersion, is_name
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.access import Principal

NO_DEPLOYMENT = "The requested deployment could not be found."
ANY_HARDWARE = "any"


class Deployments:
    """One for each API process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        principal: Principal,
        name: str,
        version: RunnableVersion,
        values: Mapping[str, Any],
        idempotent: IdempotentRequest | None = None,
    ) -> Deployment:
        """A new deployment of a version that the caller may run; `values` are its hardware and instances.
        Raises InvalidRequest, and Conflict when the name is taken.

        With `idempotent`, a repeated call gives the deployment that exists already; Gone when it has been
        deleted since.
        """
        principal.need("models")
        if not is_name(name):
            raise wrong_field("name", NAME_RULE)
        check(values)
        owner_id, owner = principal.need_user(), principal.username
        deployment = NewDeployment(
            id=uuid4(),
            owner_id=owner_id,
            owner=owner,
            name=name,
            model=version.model,
            version_id=version.id,
            released_by=owner,
            **values,
        )
        try:
            with self._database.unit() as session:
                idempotency.record(session, owner_id, idempotent, str(deployment.id))
                return table.add(session, deployment)
        except CreatedBefore as before:
            return self._created_before(UUID(before.resource))
        except IntegrityError:
            raise Conflict(f"A deployment with the name {owner}/{name} exists already.") from None

    def _created_before(self, deployment_id: UUID) -> Deployment:
        with self._database.unit() as session:
            deployment = table.by_id(session, deployment_id)
        if deployment is None or deployment.deleted_at is not None:
            raise Gone("The deployment that this Idempotency-Key has made is deleted.")
        return deployment

    def get(self, principal: Principal, owner: str, name: str) -> Deployment:
        """One deployment. Raises NotFound, also for somebody else's."""
        with self._database.unit() as session:
            return self._own(session, principal, owner, name)

    def page(self, principal: Principal, *, cursor: str | None = None, limit: int = 100) -> Page[Deployment]:
        """The caller's deployments, newest first."""
        with self._database.unit() as session:
            return table.by_user(session, principal.need_user(), cursor=cursor, limit=limit)

    def change(
        self,
        principal: Principal,
        owner: str,
        name: str,
        version: RunnableVersion | None,
        values: Mapping[str, Any],
    ) -> Deployment:
        """The next release: another version, other hardware. Predictions under way stay with what they began
        with."""
        principal.need("models")
        new = {"model": version.model, "version_id": version.id} if version else {}
        with self._database.unit() as session:
            now = self._own(session, principal, owner, name)
            names = ("hardware", "min_instances", "max_instances")
            check({field: getattr(now, field) for field in names} | dict(values))
            return table.release(session, now.id, {**new, **values}, principal.username)

    def remove(self, principal: Principal, owner: str, name: str) -> None:
        """Its name becomes free. Predictions made with it stay."""
        principal.need("models")
        with self._database.unit() as session:
            table.remove(session, self._own(session, principal, owner, name).id)

    @staticmethod
    def _own(session: Session, principal: Principal, owner: str, name: str) -> Deployment:
        deployment = table.by_name(session, owner, name) if is_name(owner) and is_name(name) else None
        if deployment is None or not _may_see(principal, deployment):
            raise NotFound(NO_DEPLOYMENT)
        return deployment


def _may_see(principal: Principal, deployment: Deployment) -> bool:
    mine = principal.user_id is not None and principal.owns(deployment.owner_id)
    return mine or principal.is_operator


def check(values: Mapping[str, Any]) -> None:
    """Raises InvalidRequest naming the field."""
    if values["hardware"] not in (ANY_HARDWARE, *CLASS_ORDER):
        known = ", ".join((ANY_HARDWARE, *CLASS_ORDER))
        raise wrong_field(
            "hardware",
            f"is not known here; known are: {known} (GET /v1/hardware lists what live workers have)",
        )
    if values["max_instances"] < values["min_instances"]:
        raise wrong_field("max_instances", "must not be smaller than min_instances")
