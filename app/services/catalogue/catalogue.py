"""Models: who may register and change which, and what is listed. Knows no HTTP.

Calls block (SQL, sometimes the hub): use threads. What every prediction asks of it is kept elsewhere
(services/catalogue/runnable.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import models, predictions, statistics, users, versions
from app.db.session import Database
from app.domain.errors import Conflict, Forbidden, Gone, wrong_field
from app.domain.models import Model, ModelName, NewModel
from app.domain.pages import Page
from app.domain.predictions import Prediction, Status
from app.domain.versions import NAME_RULE, CompleteVersion, Version, is_name
from app.services import idempotency
from app.services.catalogue.version_maker import VersionMaker
from app.services.catalogue.version_request import VersionRequest
from app.services.catalogue.visibility import latest_of, own_model, visible_model
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.access import Principal


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as it is shown, with its newest version, if it has any. Not `is_new`: it was there before the
    request that answers it."""

    model: Model
    latest: Version | None
    run_count: int
    is_new: bool = False


def _check_example(principal: Principal, model: Model, example: Prediction | None) -> None:
    """Showing a prediction is for its maker to decide, and only what went well is worth it."""
    mine = example is not None and (principal.owns(example.user_id) or principal.is_operator)
    fits = example is not None and example.model == model.full_name and example.status is Status.SUCCEEDED
    if example is None or not mine or not fits or example.data_removed_at is not None:
        raise wrong_field(
            "default_example", "must be the id of a succeeded prediction of yours with this model"
        )


class Catalogue:
    """One for each API process. `on_change` is called after any change that may revoke a right to run
    something."""

    def __init__(
        self, database: Database, maker: VersionMaker, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._database, self._maker = database, maker
        self._on_change = on_change

    def create(
        self,
        principal: Principal,
        owner: str,
        name: str,
        values: dict[str, Any],
        version: VersionRequest | None = None,
        idempotent: IdempotentRequest | None = None,
    ) -> ListedModel:
        """A new model, with its first version if one is given: both or neither. Raises Conflict when the name
        is taken.

        With `idempotent`, a repeated call gives the model that exists already; Gone when it has been deleted
        since.
        """
        principal.need("models")
        try:
            with self._database.unit() as session:  # before its files are looked at again
                idempotency.check_unused(session, principal.need_user(), idempotent)
            return self._create(principal, owner, name, values, version, idempotent)
        except CreatedBefore as before:
            return self._created_before(UUID(before.resource))

    def _create(
        self,
        principal: Principal,
        owner: str,
        name: str,
        values: dict[str, Any],
        version: VersionRequest | None,
        idempotent: IdempotentRequest | None,
    ) -> ListedModel:
        if not is_name(name):
            raise wrong_field("name", NAME_RULE, "format")
        complete = self._maker.make(principal, f"{owner}/{name}", version) if version else None
        model_id, user_id = uuid4(), principal.need_user()
        try:
            with self._database.unit() as session:
                idempotency.record(session, user_id, idempotent, str(model_id))
                owner_id = _owner_id(session, principal, owner)
                new = NewModel(id=model_id, owner_id=owner_id, owner=owner, name=name, **values)
                if complete:
                    self._maker.check_quota(session, user_id, complete)
                return _insert(session, new, complete, principal.user_id)
        except IntegrityError:
            raise Conflict(f"A model with the name {owner}/{name} exists already.") from None

    def _created_before(self, model_id: UUID) -> ListedModel:
        with self._database.unit() as session:
            model = models.by_id(session, model_id)
            if model is None or model.deleted_at is not None:
                raise Gone("The model that this Idempotency-Key has made is deleted.")
            return _listed(session, model)

    def get(self, principal: Principal, owner: str, name: str) -> ListedModel:
        """One model. Raises NotFound for absent ones and for those that the caller may not see."""
        with self._database.unit() as session:
            model = visible_model(session, principal, owner, name)
            return _listed(session, model)

    def page(
        self, principal: Principal, *, cursor: str | None = None, limit: int = 100, query: str = ""
    ) -> Page[ListedModel]:
        """Models that the caller may see, newest first; with `query`, those that hold all its words."""
        everything = principal.is_operator
        with self._database.unit() as session:
            page = models.list_visible(
                session, principal.user_id, everything=everything, cursor=cursor, limit=limit, query=query
            )
            latest = versions.latest(session, [model.id for model in page.results])
            counts = statistics.run_counts(session, [model.full_name for model in page.results])
        return page.map(
            lambda model: ListedModel(model, latest.get(model.id), counts.get(model.full_name, 0))
        )

    def names(self, principal: Principal, limit: int) -> list[ModelName]:
        """The newest models that the caller may see, as names."""
        with self._database.unit() as session:
            return models.list_names(
                session, principal.user_id, everything=principal.is_operator, limit=limit
            )

    def change(self, principal: Principal, owner: str, name: str, values: dict[str, Any]) -> ListedModel:
        """Changes what is said of a model. Its owner and name stay. Raises InvalidRequest for an example that
        is none."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            if (example := values.get("default_example")) is not None:
                _check_example(principal, model, predictions.get(session, [example]).get(example))
            model = models.change(session, model, values)
            listed = _listed(session, model)
        self._on_change()
        return listed

    def remove(self, principal: Principal, owner: str, name: str) -> None:
        """Removes a model and hides its versions. Predictions made with it stay."""
        with self._database.unit() as session:
            models.remove(session, own_model(session, principal, owner, name).id)
        self._on_change()


def _listed(session: Session, model: Model) -> ListedModel:
    runs = statistics.run_counts(session, [model.full_name]).get(model.full_name, 0)
    return ListedModel(model, latest_of(session, model), runs)


def _owner_id(session: Session, principal: Principal, owner: str) -> UUID:
    """Who owns what stands under this name: an operator may register models for others, and under names that
    are nobody's."""
    user_id = principal.need_user()
    if owner == principal.username:
        return user_id
    if not principal.is_operator:
        raise Forbidden("owner: must be your own username.")
    if not is_name(owner):
        raise wrong_field("owner", NAME_RULE, "format")
    user = users.by_username(session, owner)
    return user.id if user else user_id


def _insert(
    session: Session, new: NewModel, complete: CompleteVersion | None, user_id: UUID | None
) -> ListedModel:
    model = models.add(session, new)
    version = versions.put(session, model.id, complete, user_id) if complete else None
    return ListedModel(model, version, 0, is_new=True)
