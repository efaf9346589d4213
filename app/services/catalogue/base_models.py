"""Finds the model that an adapter (LoRA and its kin) is of, and puts together what is known of both. How
they are merged is the runtimes' business (app/runtimes/adapters.py)."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from app.db.session import Database
from app.domain.errors import InvalidRequest, LovageError, NotFound, wrong_field
from app.domain.versions import HF_SOURCE, Source, parse_source
from app.folder_content import join_hashes
from app.services.catalogue.adapter_files import (
    CONFIG,
    FIELD,
    IN_WORDS,
    SETTING,
    base_of,
    check_base,
    check_kind,
    is_adapter,
)
from app.services.catalogue.model_files import ModelFiles
from app.services.catalogue.sources import InspectedSource, SourceReader
from app.services.catalogue.version_request import VersionRequest
from app.services.catalogue.visibility import latest_of, version_of, visible_model
from app.services.people.access import Principal

SOURCES = ("path", "hf", "upload")  # that can be looked into

FindSource = Callable[[Principal, str], str]


class BaseModels:
    """Finds the base of an adapter. `find_source`: of a model of the platform, by its name; raises NotFound.
    Blocks as SourceReader does."""

    def __init__(self, sources: SourceReader, find_source: FindSource | None = None) -> None:
        self._sources, self._find_source = sources, find_source

    def join(
        self, principal: Principal, version: VersionRequest, inspected: InspectedSource
    ) -> tuple[VersionRequest, InspectedSource]:
        """An adapter with the model that it is merged into: the version names it, and of both it is known
        what they hold. As it was where it is no adapter, or where its base is nowhere to be found. Raises
        InvalidRequest for a base that is named and does not fit, and for an adapter that cannot be
        merged."""
        named = version.config.get(SETTING)
        if inspected.files is None or not is_adapter(inspected.files):
            if named:
                raise wrong_field(FIELD, "is for adapters (LoRA and its kin), and the source is none")
            return version, inspected
        check_kind(inspected.files)
        base = (
            self._named(principal, str(named)) if named else self._named_by_files(principal, inspected.files)
        )
        if base is None or base.files is None:
            return version, inspected
        check_base(inspected.files, base.files)
        config = {**version.config, SETTING: str(base.source)}
        return replace(version, config=config), joined(inspected, inspected.files, base, base.files)

    def _named(self, principal: Principal, text: str) -> InspectedSource:
        try:
            return self._look(principal, self._source(principal, text))
        except InvalidRequest as error:
            raise wrong_field(FIELD, error.fields[0].description) from None

    def _source(self, principal: Principal, text: str) -> Source:
        try:
            source = parse_source(text)
        except ValueError:
            source = self._of_platform(principal, text)
        if source.kind not in SOURCES:
            raise wrong_field(FIELD, f"must be {IN_WORDS}")
        return source

    def _of_platform(self, principal: Principal, name: str) -> Source:
        try:
            return parse_source(self._find_source(principal, name) if self._find_source else "")
        except (NotFound, ValueError):
            raise wrong_field(FIELD, f"must be {IN_WORDS}; it is none that is here") from None

    def _named_by_files(self, principal: Principal, files: ModelFiles) -> InspectedSource | None:
        """The base that the adapter's files name, where it lies under a model root or on the hub."""
        for source in candidates(base_of(files), str(files.config(CONFIG).get("revision") or "")):
            try:
                return self._look(principal, source)
            except LovageError:
                continue
        return None

    def _look(self, principal: Principal, source: Source) -> InspectedSource:
        base = self._sources.inspect(str(source), as_operator=principal.is_operator)
        if base.upload and base.upload.user_id != principal.user_id and not principal.is_operator:
            raise wrong_field(FIELD, "names no upload, or one that was removed")
        return base


def candidates(name: str, revision: str = "") -> Iterator[Source]:
    """Where a model of this name may be: a folder, a repository in the hub's cache, the hub."""
    if not name:
        return
    yield Source("path", name)
    yield Source("path", "models--" + name.replace("/", "--"))
    text = f"hf:{name}" + (f"@{revision}" if revision else "")
    if HF_SOURCE.match(text) and ".." not in text:
        yield parse_source(text)


def joined(
    adapter: InspectedSource, adapters: ModelFiles, base: InspectedSource, files: ModelFiles
) -> InspectedSource:
    """The adapter's source with the files of both, its own in a folder `adapter/`."""
    has_head = bool(adapters.config(CONFIG).get("modules_to_save"))
    renamed = {name: f"adapter/{name}" for name in adapters.names}
    both = replace(
        files,
        names=[*files.names, *renamed.values()],
        sizes={**files.sizes, **{renamed[name]: size for name, size in adapters.sizes.items()}},
        faults={**files.faults, **{f"adapter/{name}": fault for name, fault in adapters.faults.items()}},
        outside=[*files.outside, *(f"adapter/{name}" for name in adapters.outside)],
        tensors={**files.tensors, **(adapters.tensors if has_head else {})},
    )
    sizes = [size for size in (adapter.download_bytes, base.download_bytes) if size is not None]
    return replace(
        adapter,
        files=both,
        fingerprint=join_hashes((adapter.fingerprint, base.fingerprint)),
        download_bytes=sum(sizes) if sizes else None,
    )


def sources_of_models(database: Database) -> FindSource:
    """Sources of the platform's models, `owner/name` or `owner/name:version`, as far as they may be seen."""

    def find(principal: Principal, text: str) -> str:
        path, _, named = text.partition(":")
        owner, _, name = path.partition("/")
        with database.unit() as session:
            model = visible_model(session, principal, owner, name)
            version = version_of(session, model, named) if named else latest_of(session, model)
        if version is None or version.config.get(SETTING):
            raise NotFound("The model has no version with weights of its own.")
        return version.source

    return find
