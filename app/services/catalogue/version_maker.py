"""Turns what a caller says of a version (source, runtime, task, configuration) into a complete one, or
refuses it.

Whatever cannot run safely is refused here, before it has an id: pickled weights, code of others, unknown
runtimes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.db import runtimes, storage_use
from app.db.session import Database
from app.domain import queue_names, version_settings
from app.domain.errors import (
    FieldError,
    Forbidden,
    InvalidRequest,
    QuotaExceeded,
    Unavailable,
    wrong_field,
    wrong_fields,
)
from app.domain.signature import read_schemas
from app.domain.versions import CompleteVersion, Source, VersionSpec, too_large
from app.services.catalogue.backend_versions import BackendVersions, is_backend
from app.services.catalogue.base_models import BaseModels, FindSource
from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_files import ModelFiles, wrong_source
from app.services.catalogue.model_kind import class_of, kind_for_task, kind_of, misfit, streams_pieces
from app.services.catalogue.model_report import Check, ModelReport, collect_problems, report
from app.services.catalogue.model_uploads import may_use
from app.services.catalogue.schema_compile import Errors
from app.services.catalogue.sources import InspectedSource, SourceReader
from app.services.catalogue.version_request import VersionRequest, check_config, check_size
from app.services.catalogue.version_schema import Schema, override_inputs
from app.services.people.access import Principal

DEVICE_RULE = (
    f"must be auto, a class ({', '.join(queue_names.CLASSES)}), a device such as cuda:1, or one worker such"
    " as cuda:1@host"
)


ReadSpecs = Callable[[], dict[str, dict[str, Any]]]


def specs_of_workers(database: Database) -> dict[str, dict[str, Any]]:
    """Runtimes as the workers wrote them. Raises Unavailable before one has."""
    with database.unit() as session:
        specs = runtimes.all_specs(session)
    if not specs:
        raise Unavailable("No worker has said yet what it can run. Start a worker first.", retry_after=5)
    return specs


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """`most` bytes of one model's files; `quota` of all that one user has registered. 0: no limit."""

    most: int = 0
    quota: int = 0


class VersionMaker:
    """Blocks (SQL, disk, the hub). `read_specs`: what the workers can run, by name. `trusted`:
    `org/name@commit` whose own code an administrator allows to run. `development`: settings that do harm on
    purpose are taken. `backends`: makes the versions that they run. `find_source`: of a model of the
    platform, by its name."""

    def __init__(
        self,
        read_specs: ReadSpecs,
        sources: SourceReader,
        trusted: frozenset[str] = frozenset(),
        limits: ModelLimits = ModelLimits(),
        *,
        development: bool = False,
        backends: BackendVersions | None = None,
        find_source: FindSource | None = None,
    ) -> None:
        self._read_specs, self._sources = read_specs, sources
        self._bases = BaseModels(sources, find_source)
        self._backends, self._limits = backends, limits
        self._trusted, self._development = trusted, development

    def make(self, principal: Principal, model: str, version: VersionRequest) -> CompleteVersion:
        """Raises InvalidRequest naming the field, Forbidden, or Unavailable when the hub or all workers are
        away."""
        check_size(version)
        if self._backends and is_backend(version.source):
            return self._backends.make(principal, model, version)
        specs = self._read_specs()
        looked = self._look(principal, version)
        version, inspected = self._bases.join(principal, version, looked)
        runtime, task = _runtime_and_task(version, inspected, specs)
        for check in self._checks(principal, version, inspected, specs[runtime], task):
            check()
        return _complete(model, version, inspected, specs[runtime], task)

    def check(self, principal: Principal, version: VersionRequest) -> ModelReport:
        """What `make` would find; all that it would refuse of the files and of how they are run is in the
        report. Raises as `make` for a source that cannot be looked into."""
        check_size(version)
        if is_backend(version.source):
            raise wrong_source("has no files to look at: a backend runs it (POST /v1/backends/NAME/test)")
        specs = self._read_specs()
        inspected = self._look(principal, version)
        try:
            version, inspected = self._bases.join(principal, version, inspected)
        except InvalidRequest as error:
            return report(str(inspected.source), ("", ""), inspected.files, version.config, error.fields)
        kind, checks = ("", ""), list[Check]()
        try:
            kind = _runtime_and_task(version, inspected, specs)
        except InvalidRequest as error:
            problems = error.fields
        else:
            spec = specs[kind[0]]
            checks = [
                *self._checks(principal, version, inspected, spec, kind[1]),
                lambda: _complete("", version, inspected, spec, kind[1]),
            ]
            problems = collect_problems(checks)
        return report(str(inspected.source), kind, inspected.files, version.config, problems)

    def _look(self, principal: Principal, version: VersionRequest) -> InspectedSource:
        inspected = self._sources.inspect(version.source, as_operator=principal.is_operator)
        check_source(inspected, principal)
        return inspected

    def _checks(
        self,
        principal: Principal,
        version: VersionRequest,
        inspected: InspectedSource,
        spec: dict[str, Any],
        task: str,
    ) -> list[Check]:
        """In the order in which a person mends what they refuse."""
        config = version.config
        return [
            lambda: check_runtime(spec, principal),
            lambda: check_config(config, spec, development=self._development),
            lambda: check_devices(config, principal),
            lambda: check_reserved(config, principal),
            lambda: self._check_files(spec, spec["name"], task, inspected),
            lambda: self._check_download(inspected.download_bytes or 0),
        ]

    def _check_download(self, size: int) -> None:
        if self._limits.most and size > self._limits.most:
            raise wrong_source(too_large(size, self._limits.most))

    def check_quota(self, session: Session, user_id: UUID, version: CompleteVersion) -> None:
        """In the transaction that adds the version. Raises QuotaExceeded."""
        size, quota = version.source_bytes, self._limits.quota
        if not size or not quota:
            return
        others = storage_use.sum_models(session, user_id, without=version.spec.source)
        if others + size > quota:
            raise QuotaExceeded(
                f"Your models from the hub may have {quota:,} bytes together; the others have {others:,},"
                f" and this one has {size:,}. Delete some, or ask an administrator (MODEL_QUOTA_BYTES)."
            )

    def _check_files(self, spec: dict[str, Any], runtime: str, task: str, inspected: InspectedSource) -> None:
        if not spec.get("needs_source", True):
            return
        if inspected.source.kind == "none":
            raise wrong_source(f"is required by the runtime '{runtime}'")
        if inspected.files is None:
            return
        own_code = runtime != "python" and inspected.files.needs_own_code
        if own_code and not self._is_trusted(inspected.source):
            raise wrong_source(
                "wants to run its own code (auto_map), which this server does not allow for it"
            )
        check_files(inspected.files, runtime, task)
        if sentence := misfit(inspected.files, runtime, task):
            raise wrong_field("runtime", sentence)

    def _is_trusted(self, source: Source) -> bool:
        return source.kind == "hf" and f"{source.location}@{source.revision}" in self._trusted


def check_source(inspected: InspectedSource, principal: Principal) -> None:
    """Raises Forbidden for a bucket: the server's own credentials read it, and with them the files of
    everybody. Raises InvalidRequest for somebody else's upload, as for one that is not there."""
    if inspected.source.kind == "s3" and not principal.is_operator:
        raise Forbidden("Only administrators can register models from s3:// sources.")
    if inspected.upload and not may_use(principal, inspected.upload):
        raise wrong_source("names no upload, or one that was removed")


def check_runtime(spec: Mapping[str, Any], principal: Principal) -> None:
    """Raises Forbidden for a runtime that is administrators' only."""
    if spec.get("admin_only") and not principal.is_operator:
        raise Forbidden(f"Only administrators can register models of the runtime '{spec['name']}'.")


def _runtime_and_task(
    version: VersionRequest, inspected: InspectedSource, specs: dict[str, dict[str, Any]]
) -> tuple[str, str]:
    inferred = kind_of(inspected.files or ModelFiles(()))
    runtime, task = version.runtime, version.task
    if not runtime and task:
        runtime, task = kind_for_task(task)
    elif not runtime:
        if inferred is None:
            if inspected.files is not None:
                check_files(inspected.files, "", "")
            raise wrong_field("runtime", not_inferred(inspected.files) + "; give one of: " + ", ".join(specs))
        runtime, task = inferred
    elif not task and inferred and inferred[0] == runtime:
        task = inferred[1]
    if runtime not in specs:
        raise wrong_field("runtime", "is not known here; known are: " + ", ".join(specs))
    return runtime, _check_task(specs[runtime], runtime, task)


def not_inferred(files: ModelFiles | None) -> str:
    """Why, as the end of a sentence."""
    if files and (name := class_of(files)):
        return (
            f"cannot be inferred: the files are those of a {name}, which no runtime is known to run (a"
            " `python` folder would, docs/runtimes.md)"
        )
    if files and "config.json" not in files.names:
        return "cannot be inferred: there is no config.json, which says what kind of model it is"
    return "cannot be inferred from the files"


def _check_task(spec: dict[str, Any], runtime: str, task: str) -> str:
    """The task under the name that the runtime has for it. Raises InvalidRequest."""
    tasks = spec["inputs"]
    if runtime == "pipeline" and not task:
        named = ", ".join(sorted(filter(None, tasks)))
        raise wrong_field("task", f"is needed by the runtime 'pipeline': one of {named}")
    if task in tasks or (runtime == "python" and not task):
        return task
    if "" in tasks and kind_for_task(task)[0] == runtime:
        return ""
    raise wrong_field(
        "task",
        f"is not one of the runtime '{runtime}'; its tasks are: " + ", ".join(sorted(filter(None, tasks))),
    )


def check_files(files: ModelFiles, runtime: str, task: str) -> None:
    """Raises InvalidRequest with everything that is wrong with the files, in the order of mending them."""
    problems = list_problems(files, runtime, task)
    if len(problems) == 1:
        raise wrong_source(problems[0])
    if problems:
        raise wrong_fields(tuple(FieldError("source", "value", sentence) for sentence in problems))


def check_devices(config: Mapping[str, Any], principal: Principal) -> None:
    """Raises InvalidRequest naming each device that is none: what a version says here becomes the name of a
    queue, so its form is strict. One worker's own queue (`cuda:1@host`) is for operators."""
    errors: Errors = []
    for name, device in _devices(config):
        if device == version_settings.AUTO or queue_names.is_device(device):
            if "@" in device and not principal.is_operator:
                errors.append(FieldError(name, "forbidden", "only administrators can choose one worker"))
        else:
            errors.append(FieldError(name, "format", DEVICE_RULE))
    if errors:
        raise wrong_fields(tuple(errors))


def check_reserved(config: Mapping[str, Any], principal: Principal) -> None:
    """Raises InvalidRequest naming each key whose value only administrators may give it, with the reason: it
    takes what all share."""
    if principal.is_operator:
        return
    errors: Errors = []
    for name, value in config.items():
        setting = version_settings.SETTINGS.get(name)
        if setting and setting.reserved and value is not None and setting.reserved.includes(value):
            sentence = f"may be {setting.reserved.values} for administrators only: {setting.reserved.reason}"
            errors.append(FieldError(f"config.{name}", "forbidden", sentence.replace("`", "")))
    if errors:
        raise wrong_fields(tuple(errors))


def _devices(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The devices that a configuration names, with their fields. No empty ones: they stand for `auto`."""
    if device := config.get("device"):
        yield "config.device", device
    for name in ("require", "prefer"):
        if device := (config.get(name) or {}).get("device"):
            yield f"config.{name}.device", device


def _complete(
    model: str, version: VersionRequest, inspected: InspectedSource, spec: dict[str, Any], task: str
) -> CompleteVersion:
    if spec["name"] == "python":
        inputs, outputs, streams = _python_schemas(inspected.source)
    else:
        inputs = spec["inputs"].get(task) or spec["inputs"][""]
        outputs = spec["outputs"].get(task) or spec["outputs"].get("") or {}
        streams = streams_pieces(spec, task, inspected.files)
    version_spec = VersionSpec(
        model=model,
        source=str(inspected.source),
        runtime=spec["name"],
        task=task,
        config=version.config,
        input_schema=override_inputs(inputs, version.input_schema),
        fingerprint=inspected.fingerprint,
    )
    return CompleteVersion(version_spec, outputs, streams, inspected.download_bytes)


def _python_schemas(source: Source) -> tuple[Schema, Schema, bool]:
    """The schemas of a folder's `predictor.py`, read from its text: its code is never run here."""
    if source.kind != "path":
        raise wrong_source("of the runtime 'python' must be a path: source")
    try:
        inputs, outputs, streams = read_schemas((Path(source.location) / "predictor.py").read_text("utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        reason = str(error) if isinstance(error, ValueError) else "cannot be read as Python"
        raise wrong_source(f"has a predictor.py that does not fit: {reason}") from None
    return inputs, outputs, bool(streams)
