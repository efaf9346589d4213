"""The backends that there are: added, changed, removed by administrators. Knows no HTTP. Calls block (SQL):
use threads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.backends import registry as kinds
from app.backends.credentials import CredentialSealer
from app.db import backends as table
from app.db.session import Database
from app.domain.backends import Backend, BackendReport, NewBackend, ServedModel, sum_reports
from app.domain.errors import Conflict, FieldError, NotFound, wrong_field, wrong_fields
from app.domain.versions import NAME_RULE, is_name
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused
from app.services.catalogue.schema_compile import Errors, compile_schema
from app.services.people.access import Principal

NO_BACKEND = "The requested backend could not be found."
SELECT = "select"  # the address of another question
REPORT_SECONDS = 30.0  # a report that is older says nothing of now


@dataclass(frozen=True, slots=True)
class ListedBackend:
    """A backend, with what gateway workers say of it now."""

    backend: Backend
    report: BackendReport


class Backends:
    """One for each API process. Methods that take a caller raise Forbidden for all but administrators."""

    def __init__(self, database: Database, sealer: CredentialSealer, policy: AddressPolicy) -> None:
        self._database, self._sealer = database, sealer
        self._policy = policy

    def list_all(self, principal: Principal) -> list[ListedBackend]:
        """Every one, by name."""
        principal.need_operator("see and change backends")
        return self.list_known()

    def list_known(self) -> list[ListedBackend]:
        """The same for choosing among them. Whoever shows it to a caller shows no more than a name."""
        with self._database.unit() as session:
            reports = table.reports(session, REPORT_SECONDS)
            return [
                ListedBackend(backend, sum_reports(reports.get(backend.id, [])))
                for backend in table.list_all(session)
            ]

    def get(self, principal: Principal, name: str) -> ListedBackend:
        """Raises NotFound."""
        principal.need_operator("see and change backends")
        with self._database.unit() as session:
            return self._listed(session, _existing(session, name))

    def create(
        self, principal: Principal, name: str, kind: str, url: str, values: Mapping[str, Any]
    ) -> ListedBackend:
        """Raises InvalidRequest naming the field, and Conflict when the name is taken."""
        principal.need_operator("see and change backends")
        if not is_name(name) or name == SELECT:
            raise wrong_field("name", NAME_RULE + f", and not '{SELECT}'", "format")
        check_kind(kind)
        columns = self._checked(kind, {"url": url, **values})
        try:
            with self._database.unit() as session:
                return self._listed(
                    session, table.add(session, NewBackend(id=uuid4(), name=name, kind=kind, **columns))
                )
        except IntegrityError:
            raise Conflict(f"A backend with the name {name} exists already.") from None

    def change(self, principal: Principal, name: str, values: Mapping[str, Any]) -> ListedBackend:
        """What is left out stays. Raises NotFound, InvalidRequest."""
        principal.need_operator("see and change backends")
        with self._database.unit() as session:
            now = _existing(session, name)
            return self._listed(session, table.change(session, now.id, self._checked(now.kind, values)))

    def remove(self, principal: Principal, name: str) -> None:
        """Versions that name it wait until there is another of that name. Raises NotFound."""
        principal.need_operator("see and change backends")
        with self._database.unit() as session:
            table.remove(session, _existing(session, name).id)

    def set_served(self, name: str, served: list[ServedModel]) -> Backend:
        """What it has just said that it serves."""
        with self._database.unit() as session:
            backend = _existing(session, name)
            return table.set_served(session, backend.id, [each.as_json() for each in served])

    def _listed(self, session: Session, backend: Backend) -> ListedBackend:
        reports = table.reports(session, REPORT_SECONDS)
        return ListedBackend(backend, sum_reports(reports.get(backend.id, [])))

    def _checked(self, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """As columns, the credential encrypted."""
        columns = dict(values)
        if "url" in columns:
            self._check_url(kind, columns["url"])
        if "options" in columns:
            check_options(kind, columns["options"])
        if "credential" in columns:
            credential = columns["credential"]
            columns["credential"] = self._sealer.seal(credential) if credential else None
        return columns

    def _check_url(self, kind: str, url: str) -> None:
        try:
            kinds.find(kind).check_url(url, self._policy)
        except Refused as error:
            raise wrong_field("url", str(error)) from None


def check_kind(kind: str) -> None:
    """Raises InvalidRequest."""
    if kind not in kinds.names():
        raise wrong_field("kind", "is not known here; known are: " + ", ".join(kinds.names()))


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raises InvalidRequest naming each option that the kind does not take, or not so."""
    known, errors = kinds.find(kind).options, list[FieldError]()
    for name, value in options.items():
        if name in known:
            wrong: Errors = []
            compile_schema(known[name])(value, f"options.{name}", wrong)
            errors += wrong
        else:
            listed = ", ".join(known) or "none"
            sentence = f"is not an option of the kind '{kind}'; known are: {listed}"
            errors.append(FieldError(f"options.{name[:100]}", "additional_property_not_allowed", sentence))
    if errors:
        raise wrong_fields(tuple(errors))


def _existing(session: Session, name: str) -> Backend:
    backend = table.by_name(session, name) if is_name(name) else None
    if backend is None:
        raise NotFound(NO_BACKEND)
    return backend
