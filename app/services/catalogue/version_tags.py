"""Tags of versions: `owner/name:tag` means the version that the model's owner has tagged so, until the tag is
moved. Knows no HTTP. Calls block (SQL): use threads."""

from collections.abc import Callable

from app.db import version_tags as table
from app.db.session import Database
from app.domain.errors import NotFound, wrong_field
from app.domain.versions import TAG_RULE, VersionTag, is_tag
from app.services.catalogue.visibility import own_model, version_of, visible_model
from app.services.people.access import Principal

NO_TAG = "The requested tag could not be found."
MOST_TAGS = 1_000  # of one model


class VersionTags:
    """One for each API process. `on_change` is called after any change."""

    def __init__(self, database: Database, on_change: Callable[[], None] = lambda: None) -> None:
        self._database, self._on_change = database, on_change

    def list_all(self, principal: Principal, owner: str, name: str) -> list[VersionTag]:
        """A model's tags, by name. Raises NotFound."""
        with self._database.unit() as session:
            return table.list_all(session, visible_model(session, principal, owner, name).id)

    def put(self, principal: Principal, owner: str, name: str, tag: str, version: str) -> VersionTag:
        """New, or moved to this version, which is named by its id or another tag. Raises NotFound, Forbidden,
        InvalidRequest."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            if not is_tag(tag):
                raise wrong_field("tag", TAG_RULE, "format")
            known = {each.name for each in table.list_all(session, model.id)}
            if tag not in known and len(known) >= MOST_TAGS:
                raise wrong_field("tag", f"would be one more than the {MOST_TAGS:,} that a model may have")
            try:
                version_id = version_of(session, model, version).id
            except NotFound:
                raise wrong_field("version", f"is no version of {model.full_name}") from None
            put = table.put(session, model.id, tag, version_id)
        self._on_change()
        return put

    def remove(self, principal: Principal, owner: str, name: str, tag: str) -> None:
        """The version stays. Raises NotFound, Forbidden."""
        with self._database.unit() as session:
            model = own_model(session, principal, owner, name)
            if not is_tag(tag) or not table.remove(session, model.id, tag):
                raise NotFound(NO_TAG)
        self._on_change()
