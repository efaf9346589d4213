"""The versions of models: registered, listed, removed. Knows no HTTP. Calls block (SQL, sometimes the hub):
use threads."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from app.db import versions
from app.db.session import Database
from app.domain.errors import Forbidden, Gone, NotFound
from app.domain.pages import Page
from app.domain.versions import Version
from app.services import idempotency
from app.services.catalogue.model_report import ModelReport
from app.services.catalogue.model_uploads import ModelUploads
from app.services.catalogue.version_maker import VersionMaker
from app.services.catalogue.version_request import VersionRequest
from app.services.catalogue.version_tags import VersionTags
from app.services.catalogue.visibility import (
    NO_VERSIONS_YET,
    latest_of,
    may_change,
    own_model,
    version_of,
    visible_model,
)
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.access import Principal


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """What registering would find; `current`: what stands under its name now."""

    report: ModelReport
    current: Version | None


class ModelVersions:
    """One for each API process. `on_change` is called after any change that may revoke a right to run
    something. `uploads`: what somebody has sent to make versions of; without any there can be none."""

    def __init__(
        self,
        database: Database,
        maker: VersionMaker,
        on_change: Callable[[], None] = lambda: None,
        uploads: ModelUploads | None = None,
    ) -> None:
        self._database, self._maker = database, maker
        self._on_change, self._uploads = on_change, uploads
        self.tags = VersionTags(database, on_change)

    @property
    def uploads(self) -> ModelUploads:
        assert self._uploads is not None, "built without uploads"
        return self._uploads

    def add(
        self,
        principal: Principal,
        owner: str,
        name: str,
        version: VersionRequest,
        idempotent: IdempotentRequest | None = None,
    ) -> Version:
        """A version of the caller's model; the same content gives the same version again.

        With `idempotent`, a repeated call gives it without a look at its files; Gone when it has been deleted
        since.
        """
        try:
            return self._add(principal, owner, name, version, idempotent)
        except CreatedBefore as before:
            with self._database.unit() as session:
                created, _ = versions.by_id(session, before.resource) or (None, None)
            if created is None:
                raise Gone("The version that this Idempotency-Key has made is deleted.") from None
            return created

    def _add(
        self,
        principal: Principal,
        owner: str,
        name: str,
        version: VersionRequest,
        idempotent: IdempotentRequest | None,
    ) -> Version:
        with self._database.unit() as session:
            own_model(session, principal, owner, name)
            idempotency.check_unused(session, principal.need_user(), idempotent)
        complete = self._maker.make(principal, f"{owner}/{name}", version)  # slow, so outside a transaction
        with self._database.unit() as session:
            idempotency.record(session, principal.need_user(), idempotent, complete.spec.address())
            model = own_model(session, principal, owner, name)
            self._maker.check_quota(session, principal.need_user(), complete)
            added = versions.put(session, model.id, complete, principal.user_id)
        self._on_change()
        return added

    def check(self, principal: Principal, version: VersionRequest, model: str) -> CheckedVersion:
        """A dry run of `add`: stores nothing. `model` is owner/name, "" for none. Raises Forbidden for a
        model of somebody else, and as `VersionMaker.check`."""
        owner, _, name = model.partition("/")
        current = None
        if model:
            with contextlib.suppress(NotFound), self._database.unit() as session:
                current = latest_of(session, own_model(session, principal, owner, name))
        return CheckedVersion(self._maker.check(principal, version), current)

    def page(
        self, principal: Principal, owner: str, name: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Version]:
        """A model's versions, newest first."""
        with self._database.unit() as session:
            model = visible_model(session, principal, owner, name)
            return versions.by_model(session, model.id, cursor=cursor, limit=limit)

    def get(self, principal: Principal, owner: str, name: str, version_id: str = "") -> Version:
        """A version, the newest unless one is named. Raises NotFound."""
        with self._database.unit() as session:
            model = visible_model(session, principal, owner, name)
            version = version_of(session, model, version_id) if version_id else latest_of(session, model)
        return _existing(version)

    def get_own(self, principal: Principal, owner: str, name: str, version_id: str = "") -> Version:
        """A version of the caller's own model, the newest unless one is named. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            version = version_of(session, model, version_id) if version_id else latest_of(session, model)
        return _existing(version)

    def get_for_statistics(self, principal: Principal, owner: str, name: str, version_id: str) -> Version:
        """One version, for those who may know how it is used. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            model = visible_model(session, principal, owner, name)
            if not may_change(principal, model):
                raise Forbidden("Only the owner of this model and operators can see its statistics.")
            return version_of(session, model, version_id)

    def make_current(self, principal: Principal, owner: str, name: str, version_id: str) -> Version:
        """From now on the model's name means this version. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            version = versions.release(session, version_of(session, model, version_id).id)
        self._on_change()
        return version

    def remove(self, principal: Principal, owner: str, name: str, version_id: str) -> None:
        """Hides a version; nothing new can be run with it."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            versions.remove(session, version_of(session, model, version_id).id)
        self._on_change()


def _existing(version: Version | None) -> Version:
    if version is None:
        raise NotFound(NO_VERSIONS_YET)
    return version
