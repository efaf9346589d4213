"""Versions that backends run: their source is `backend:NAME/MODEL`, and their schemas are those of the task,
or what the backend says of the model. Blocks (SQL)."""

from typing import Any

from sqlalchemy.orm import Session

from app.backends import tasks
from app.db import backends
from app.db.session import Database
from app.domain.backends import RUNTIME, BackendChoice, ServedModel, choices_of
from app.domain.errors import wrong_field
from app.domain.versions import CompleteVersion, VersionSpec, parse_source
from app.services.catalogue.version_request import VersionRequest, check_config
from app.services.catalogue.version_schema import override_inputs
from app.services.people.access import Principal


def is_backend(source: str) -> bool:
    """Whether a source means something that a backend runs."""
    return source.startswith("backend:")


class BackendVersions:
    """One for each API process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, principal: Principal, model: str, version: VersionRequest) -> CompleteVersion:
        """Raises Forbidden for anybody but an administrator, InvalidRequest naming the field."""
        principal.need_operator("register what backends serve")
        if version.runtime not in ("", RUNTIME):
            raise wrong_field("runtime", f"of a backend's model can only be '{RUNTIME}'")
        name, upstream = _parts(version.source)
        check_config(version.config, tasks.SPEC)
        first = BackendChoice(name, upstream)
        config = {**version.config, "backends": _with_models(version.config, first)}
        with self._database.unit() as session:
            _check_names(session, choices_of(config))
            served = _served(session, first)
        return _complete(model, version, config, served)


def _parts(source: str) -> tuple[str, str]:
    try:
        name, _, upstream = parse_source(source).location.partition("/")
    except ValueError as error:
        raise wrong_field("source", str(error)) from None
    return name, upstream


def _with_models(config: dict[str, Any], first: BackendChoice) -> list[dict[str, Any]]:
    """The backends of a configuration, each with what the model is called there; that of the source alone
    where it names none."""
    listed = config.get("backends") or [{"name": first.name}]
    return [{"model": first.model, **backend} for backend in listed]


def _check_names(session: Session, choices: tuple[BackendChoice, ...]) -> None:
    known = [backend.name for backend in backends.list_all(session)]
    for choice in choices:
        if choice.name not in known:
            listed = ", ".join(known) or "none"
            raise wrong_field("source", f"names no backend ({choice.name}); known are: {listed}")


def _served(session: Session, choice: BackendChoice) -> ServedModel | None:
    backend = backends.by_name(session, choice.name)
    return backend.served_model(choice.model) if backend else None


def _complete(
    model: str, version: VersionRequest, config: dict[str, Any], served: ServedModel | None
) -> CompleteVersion:
    task = version.task or (served.task if served else tasks.infer_task(_parts(version.source)[1]))
    inputs, outputs = tasks.INPUTS.get(task), tasks.OUTPUTS.get(task, {})
    streams = task in tasks.STREAMING
    if served and served.inputs and task == served.task:
        inputs, outputs = served.inputs, served.outputs
        streams = served.streams
    if inputs is None:
        raise wrong_field("task", "is not one that backends run: " + ", ".join(sorted(tasks.INPUTS)))
    spec = VersionSpec(
        model=model,
        source=version.source,
        runtime=RUNTIME,
        task=task,
        config=config,
        input_schema=override_inputs(inputs, version.input_schema),
    )
    return CompleteVersion(spec, outputs, streams)
