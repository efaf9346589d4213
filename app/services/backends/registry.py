"""The backends that there are: added, changed, removed by administrators. Knows no HTTP. Calls block (SQL):
use threads."""

from collections.abc import Mapping, Sequence
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
from app.domain.hybrid import HYBRID, member_names
from app.domain.versions import NAME_RULE, is_name
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused
from app.services.backends.set_members import report_of_members
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
            return _with_reports(session, table.list_all(session))

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
                _check_members(session, kind, columns)
                new = NewBackend(id=uuid4(), name=name, kind=kind, **columns)
                return self._listed(session, table.add(session, new))
        except IntegrityError:
            raise Conflict(f"A backend with the name {name} exists already.") from None

    def change(self, principal: Principal, name: str, values: Mapping[str, Any]) -> ListedBackend:
        """What is left out stays. Raises NotFound, InvalidRequest."""
        principal.need_operator("see and change backends")
        with self._database.unit() as session:
            now = _existing(session, name)
            columns = self._checked(now.kind, values)
            _check_members(session, now.kind, {"url": now.url, "options": now.options, **columns})
            return self._listed(session, table.change(session, now.id, columns))

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
        listed = _with_reports(session, table.list_all(session))
        return next(each for each in listed if each.backend.id == backend.id)

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


def _with_reports(session: Session, backends: Sequence[Backend]) -> list[ListedBackend]:
    """A set of others does as its members do."""
    by_id = table.reports(session, REPORT_SECONDS)
    reports = {backend.name: by_id.get(backend.id, []) for backend in backends}
    return [
        ListedBackend(
            backend,
            report_of_members(backend, backends, reports)
            if backend.kind == HYBRID
            else sum_reports(reports[backend.name]),
        )
        for backend in backends
    ]


def _check_members(session: Session, kind: str, columns: Mapping[str, Any]) -> None:
    """Raises InvalidRequest where a set of backends, or an option of it, names none, or another set."""
    if kind != HYBRID:
        return
    members = member_names(columns["url"])
    callable_names = {each.name for each in table.list_all(session) if each.kind != HYBRID}
    if unknown := [name for name in members if name not in callable_names]:
        raise wrong_field("url", f"names {unknown[0]}, which is no backend that can be in a set")
    for option, by_member in columns.get("options", {}).items():
        for name in by_member if isinstance(by_member, dict) else ():
            if name not in members:
                raise wrong_field(f"options.{option}", f"names {name[:64]}, which is no member")


def _existing(session: Session, name: str) -> Backend:
    backend = table.by_name(session, name) if is_name(name) else None
    if backend is None:
        raise NotFound(NO_BACKEND)
    return backend
