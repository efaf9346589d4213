"""Other names of models: those of MODEL_ALIASES, which stay as long as the setting does, and those that
administrators set while the platform runs. Knows no HTTP. Calls block (SQL): use threads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db import model_aliases as table
from app.db.session import Database
from app.domain.errors import Conflict, NotFound, wrong_field
from app.domain.versions import NAME_RULE, is_name
from app.services.catalogue.visibility import visible_model
from app.services.people.access import Principal

NO_ALIAS = "The requested alias could not be found."
WHAT = "set other names of models"


@dataclass(frozen=True, slots=True)
class ModelAlias:
    """`model` is `owner/name`; `is_setting`: by MODEL_ALIASES."""

    name: str
    model: str
    is_setting: bool = False


class ModelAliases:
    """One for each API process. `settings` are those of MODEL_ALIASES, from any name to `owner/name`;
    `on_change` is called after any change."""

    def __init__(self, database: Database, settings: Mapping[str, str]) -> None:
        self._database, self.settings = database, dict(settings)
        self.on_change: Callable[[], None] = lambda: None

    def list_all(self, principal: Principal) -> list[ModelAlias]:
        """Those of models that the caller may see, by name. Administrators see all."""
        with self._database.unit() as session:
            return [
                alias
                for alias in self._read(session).values()
                if principal.is_operator or _is_visible(session, principal, alias.model)
            ]

    def get(self, principal: Principal, name: str) -> ModelAlias:
        """Raises NotFound, also where the caller may not see the model."""
        aliases = {alias.name: alias for alias in self.list_all(principal)}
        if name not in aliases:
            raise NotFound(NO_ALIAS)
        return aliases[name]

    def put(self, principal: Principal, name: str, model: str) -> ModelAlias:
        """New, or of another model from now on. Raises Forbidden, InvalidRequest, Conflict."""
        principal.need_operator(WHAT)
        self._check_is_free(name)
        if not is_name(name):
            raise wrong_field("name", NAME_RULE, "format")
        with self._database.unit() as session:
            if not _is_visible(session, principal, model):
                raise wrong_field("model", "must be the owner/name of a model that is there")
            table.put(session, name, model)
        self.on_change()
        return ModelAlias(name, model)

    def remove(self, principal: Principal, name: str) -> None:
        """Raises Forbidden, NotFound, Conflict."""
        principal.need_operator(WHAT)
        self._check_is_free(name)
        with self._database.unit() as session:
            if not is_name(name) or not table.remove(session, name):
                raise NotFound(NO_ALIAS)
        self.on_change()

    def _check_is_free(self, name: str) -> None:
        if name in self.settings:
            raise Conflict(f"The alias {name} is set by MODEL_ALIASES, and is changed there.")

    def _read(self, session: Session) -> dict[str, ModelAlias]:
        own = {name: ModelAlias(name, model) for name, model in table.list_all(session).items()}
        fixed = {name: ModelAlias(name, model, True) for name, model in self.settings.items()}
        return dict(sorted({**own, **fixed}.items()))


def _is_visible(session: Session, principal: Principal, model: str) -> bool:
    owner, _, name = model.partition("/")
    try:
        visible_model(session, principal, owner, name)
    except NotFound:
        return False
    return True
