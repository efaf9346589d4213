"""Models and their versions: who may see and change which, and what is listed. Knows no HTTP.

Calls block (SQL, sometimes the hub): use threads. What every prediction asks of it is kept elsewhere
(services/catalogue/runnable.py).
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import models, predictions, users, versions
from app.db.pages import Page
from app.db.session import Database
from app.db.tables import ModelRow, VersionRow
from app.domain.errors import Conflict, Forbidden, Gone, LovageError, NotFound, wrong_field
from app.domain.predictions import Prediction, Status
from app.domain.versions import NAME_RULE, VERSION_ID, is_name
from app.services import idempotency
from app.services.catalogue.version_maker import MadeVersion, NewVersion, VersionMaker
from app.services.idempotency import MadeBefore, Once
from app.services.people.access import Principal

COUNTS_SECONDS = 60.0  # run counts are decoration, and counting reads the whole table
NO_MODEL = "The requested model could not be found."
NO_VERSION = "The requested version could not be found."


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as it is shown."""

    row: ModelRow
    latest: VersionRow | None
    run_count: int


def may_see(principal: Principal, row: ModelRow) -> bool:
    """Public models are everybody's to see, private ones their owner's and an operator's."""
    return row.visibility == "public" or principal.owns(row.owner_id) or principal.is_operator


def _check_example(principal: Principal, row: ModelRow, found: Prediction | None) -> None:
    """Showing a prediction is for its maker to decide, and only what went well is worth it."""
    mine = found is not None and (principal.owns(found.user_id) or principal.is_operator)
    fits = found is not None and found.model == f"{row.owner}/{row.name}" and found.status is Status.SUCCEEDED
    if found is None or not mine or not fits or found.data_removed_at is not None:
        raise wrong_field(
            "default_example", "must be the id of a succeeded prediction of yours with this model"
        )


class Catalogue:
    """One for each API process. `changed` is called after any change that may revoke a right to run
    something."""

    def __init__(
        self, database: Database, maker: VersionMaker, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._database, self._maker, self._changed = database, maker, changed
        self._counts: dict[str, int] = {}
        self._counted_at = float("-inf")

    # Models

    def create(
        self,
        principal: Principal,
        owner: str,
        name: str,
        values: dict[str, Any],
        version: NewVersion | None = None,
        once: Once | None = None,
    ) -> Listed:
        """A new model, with its first version if one is given: both or neither. Raises Conflict when the name
        is taken.

        With `once`, a repeated call gives the model that exists already; Gone when it has been deleted since.
        """
        principal.need("models")
        try:
            with self._database.unit() as session:
                idempotency.look(session, principal.need_user(), once)  # before its files are looked at again
            return self._create(principal, owner, name, values, version, once)
        except MadeBefore as before:
            return self._made(UUID(before.resource))

    def _create(
        self,
        principal: Principal,
        owner: str,
        name: str,
        values: dict[str, Any],
        version: NewVersion | None,
        once: Once | None,
    ) -> Listed:
        if not is_name(name):
            raise wrong_field("name", NAME_RULE, "format")
        made = self._maker.make(principal, f"{owner}/{name}", version) if version else None
        try:
            with self._database.unit() as session:
                model_id = uuid4()
                idempotency.claim(session, principal.need_user(), once, str(model_id))
                row = self._new_row(session, principal, owner, name, {**values, "id": model_id})
                added = self._put(session, principal, row, made) if made else None
        except IntegrityError:
            raise Conflict(f"A model with the name {owner}/{name} exists already.") from None
        return Listed(row, added, 0)

    def _made(self, model_id: UUID) -> Listed:
        with self._database.unit() as session:
            row = models.by_id(session, model_id)
            if row is None or row.deleted_at is not None:
                raise Gone("The model that this Idempotency-Key has made is deleted.")
            latest = versions.latest(session, [row.id]).get(row.id)
        return Listed(row, latest, self._run_counts().get(f"{row.owner}/{row.name}", 0))

    @staticmethod
    def _new_row(
        session: Session, principal: Principal, owner: str, name: str, values: dict[str, Any]
    ) -> ModelRow:
        owner_id = principal.need_user()
        if owner != principal.username:
            if not principal.is_operator:
                raise Forbidden("owner: must be your own username.")
            if not is_name(owner):
                raise wrong_field("owner", NAME_RULE, "format")
            other = users.by_username(session, owner)
            owner_id = other.id if other else owner_id
        row = ModelRow(owner_id=owner_id, owner=owner, name=name, **values)
        models.add(session, row)
        return row

    def get(self, principal: Principal, owner: str, name: str) -> Listed:
        """One model. Raises NotFound for absent ones and for those that the caller may not see."""
        with self._database.unit() as session:
            row = self._visible(session, principal, owner, name)
            latest = versions.latest(session, [row.id]).get(row.id)
        return Listed(row, latest, self._run_counts().get(f"{owner}/{name}", 0))

    def page(
        self, principal: Principal, *, cursor: str | None = None, limit: int = 100, query: str = ""
    ) -> Page[Listed]:
        """Models that the caller may see, newest first; with `query`, those that hold all its words."""
        counts = self._run_counts()
        with self._database.unit() as session:
            everything = principal.is_operator
            found = models.visible(
                session, principal.user_id, everything=everything, cursor=cursor, limit=limit, query=query
            )
            latest = versions.latest(session, [row.id for row in found.results])
        return found.map(
            lambda row: Listed(row, latest.get(row.id), counts.get(f"{row.owner}/{row.name}", 0))
        )

    def names(self, principal: Principal, limit: int) -> list[ModelRow]:
        """Owner, name and time of the newest models that the caller may see; nothing else of the rows is
        read."""
        with self._database.unit() as session:
            return models.names(session, principal.user_id, everything=principal.is_operator, limit=limit)

    def change(self, principal: Principal, owner: str, name: str, values: dict[str, Any]) -> Listed:
        """Changes what is said of a model. Its owner and name stay. Raises InvalidRequest for an example that
        is none."""
        with self._database.unit() as session:
            row = self._own(session, principal, owner, name)
            if (example := values.get("default_example")) is not None:
                _check_example(principal, row, predictions.get(session, [example]).get(example))
            models.change(row, values)
            latest = versions.latest(session, [row.id]).get(row.id)
        self._changed()
        return Listed(row, latest, self._run_counts().get(f"{owner}/{name}", 0))

    def remove(self, principal: Principal, owner: str, name: str) -> None:
        """Removes a model and hides its versions. Predictions made with it stay."""
        with self._database.unit() as session:
            models.remove(self._own(session, principal, owner, name))
        self._changed()

    # Versions

    def add_version(
        self, principal: Principal, owner: str, name: str, wanted: NewVersion, once: Once | None = None
    ) -> VersionRow:
        """A version of the caller's model; the same content gives the same version again.

        With `once`, a repeated call gives it without a look at its files; Gone when it has been deleted
        since.
        """
        try:
            return self._add_version(principal, owner, name, wanted, once)
        except MadeBefore as before:
            with self._database.unit() as session:
                found = versions.by_id(session, before.resource)
            if found is None:
                raise Gone("The version that this Idempotency-Key has made is deleted.") from None
            return found[0]

    def _add_version(
        self, principal: Principal, owner: str, name: str, wanted: NewVersion, once: Once | None
    ) -> VersionRow:
        with self._database.unit() as session:
            self._own(session, principal, owner, name)
            idempotency.look(session, principal.need_user(), once)
        made = self._maker.make(
            principal, f"{owner}/{name}", wanted
        )  # slow; no transaction is open meanwhile
        with self._database.unit() as session:
            idempotency.claim(session, principal.need_user(), once, made.spec.address())
            added = self._put(session, principal, self._own(session, principal, owner, name), made)
        self._changed()
        return added

    def version_page(
        self, principal: Principal, owner: str, name: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[VersionRow]:
        """A model's versions, newest first."""
        with self._database.unit() as session:
            row = self._visible(session, principal, owner, name)
            return versions.of_model(session, row.id, cursor=cursor, limit=limit)

    def version(self, principal: Principal, owner: str, name: str, version_id: str) -> VersionRow:
        """One version. Raises NotFound."""
        with self._database.unit() as session:
            row = self._visible(session, principal, owner, name)
            return self._version_of(session, row, version_id)

    def newest(self, principal: Principal, owner: str, name: str) -> VersionRow:
        """A model's newest version. Raises NotFound."""
        latest = self.get(principal, owner, name).latest
        if latest is None:
            raise NotFound("This model has no versions yet.")
        return latest

    def watched_version(self, principal: Principal, owner: str, name: str, version_id: str) -> VersionRow:
        """One version, for those who may know how it is used. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            row = self._visible(session, principal, owner, name)
            if not (principal.owns(row.owner_id) or principal.is_operator):
                raise Forbidden("Only the owner of this model and operators can see its statistics.")
            return self._version_of(session, row, version_id)

    def own_version(self, principal: Principal, owner: str, name: str, version_id: str = "") -> VersionRow:
        """A version of the caller's own model, the newest unless one is named. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            row = self._own(session, principal, owner, name)
            found = (
                self._version_of(session, row, version_id)
                if version_id
                else versions.latest(session, [row.id]).get(row.id)
            )
        if found is None:
            raise NotFound("This model has no versions yet.")
        return found

    def remove_version(self, principal: Principal, owner: str, name: str, version_id: str) -> None:
        """Hides a version; nothing new can be run with it."""
        with self._database.unit() as session:
            row = self._own(session, principal, owner, name)
            versions.remove(self._version_of(session, row, version_id))
        self._changed()

    # Parts

    @staticmethod
    def _put(session: Session, principal: Principal, model: ModelRow, made: MadeVersion) -> VersionRow:
        spec = made.spec
        row = VersionRow(
            id=spec.address(),
            model_id=model.id,
            source=spec.source,
            runtime=spec.runtime,
            task=spec.task,
            config=spec.config,
            input_schema=spec.input_schema,
            output_schema=made.output_schema,
            streams=made.streams,
            created_by=principal.user_id,
        )
        return versions.put(session, row)

    @staticmethod
    def _visible(session: Session, principal: Principal, owner: str, name: str) -> ModelRow:
        row = models.by_name(session, owner, name) if is_name(owner) and is_name(name) else None
        if row is None or not may_see(principal, row):
            raise NotFound(NO_MODEL)
        return row

    def _own(self, session: Session, principal: Principal, owner: str, name: str) -> ModelRow:
        principal.need("models")
        row = self._visible(session, principal, owner, name)
        if not (principal.owns(row.owner_id) or principal.is_operator):
            raise Forbidden("Only the owner of this model can change it.")
        return row

    @staticmethod
    def _version_of(session: Session, model: ModelRow, version_id: str) -> VersionRow:
        found = versions.by_id(session, version_id) if VERSION_ID.match(version_id) else None
        if found is None or found[0].model_id != model.id:
            raise NotFound(NO_VERSION)
        return found[0]

    def _run_counts(self) -> dict[str, int]:
        if time.monotonic() - self._counted_at > COUNTS_SECONDS:
            self._counted_at = time.monotonic()
            with contextlib.suppress(LovageError), self._database.unit() as session:
                self._counts = models.run_counts(session)
        return self._counts
