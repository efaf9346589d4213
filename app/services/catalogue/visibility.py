"""Who may see a model and who may change it. Knows no HTTP; reads within its caller's transaction."""

from sqlalchemy.orm import Session

from app.db import models, version_tags, versions
from app.domain.errors import Forbidden, NotFound
from app.domain.models import Model
from app.domain.versions import VERSION_ID, Version, is_name, is_tag
from app.services.people.access import Principal

NO_MODEL = "The requested model could not be found."
NO_VERSION = "The requested version could not be found."
NO_VERSIONS_YET = "This model has no versions yet."


def may_see(principal: Principal, model: Model) -> bool:
    """Public models are everybody's to see, private ones their owner's and an operator's."""
    return model.is_public or may_change(principal, model)


def may_change(principal: Principal, model: Model) -> bool:
    """A model is its owner's and an operator's to change."""
    return principal.owns(model.owner_id) or principal.is_operator


def visible_model(session: Session, principal: Principal, owner: str, name: str) -> Model:
    """Raises NotFound for absent models and for those that the caller may not see."""
    model = models.by_name(session, owner, name) if is_name(owner) and is_name(name) else None
    if model is None or not may_see(principal, model):
        raise NotFound(NO_MODEL)
    return model


def own_model(session: Session, principal: Principal, owner: str, name: str) -> Model:
    """A model that the caller may change. Raises NotFound, Forbidden."""
    principal.need("models")
    model = visible_model(session, principal, owner, name)
    if not may_change(principal, model):
        raise Forbidden("Only the owner of this model can change it.")
    return model


def version_of(session: Session, model: Model, version: str) -> Version:
    """The model's version that has this id or tag. Raises NotFound."""
    tagged = version_tags.version_of(session, model.id, version) if is_tag(version) else version
    pair = versions.by_id(session, tagged) if VERSION_ID.match(tagged) else None
    if pair is None or pair[1].id != model.id:
        raise NotFound(NO_VERSION)
    return pair[0]


def latest_of(session: Session, model: Model) -> Version | None:
    """The model's newest version, if it has any."""
    return versions.latest(session, [model.id]).get(model.id)
