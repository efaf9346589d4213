"""Looks at where a version's files come from, before it is registered: pins the revision and lists the files.

`hf:` asks the hub (HF_ENDPOINT honoured), `path:` looks into a folder under a model root, `s3:` is taken as
it is. Downloads no weights and decides nothing; workers fetch.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidRequest, Unavailable, wrong_field
from app.domain.versions import Source, parse_source
from app.outbound.hub import INFO_SECONDS, HubClient, HubFailed, HubGated, HubNoRepository, HubNoRevision
from app.services.catalogue.model_kind import CONFIG_FILES, ModelFiles

LARGEST_CONFIG = 4_000_000  # bytes
# Of a large file, its first and last MiB go into the fingerprint: gigabytes must not be read here.
EDGE = 1 << 20
MOST_FILES = 2_000


@dataclass(frozen=True, slots=True)
class InspectedSource:
    """A source as it will be stored, its files (None: not read), and a hash of what a folder held."""

    source: Source
    files: ModelFiles | None = None
    fingerprint: str = ""


def wrong_source(sentence: str) -> InvalidRequest:
    """The one way to say what is wrong with a source; it never repeats more than the caller has sent."""
    return wrong_field("source", sentence)


class SourceReader:
    """Blocks: network and disk. Use threads."""

    def __init__(self, roots: list[Path], hf_endpoint: str = "", hf_token: str = "") -> None:
        self._roots = [root.resolve() for root in roots]
        self._hub = HubClient(hf_endpoint, hf_token, saved_login=False)
        self._open_hub = HubClient(hf_endpoint, saved_login=False)

    def inspect(self, text: str, *, as_operator: bool = False) -> InspectedSource:
        """The server's token for the hub is its operators': others see what is open to everybody. Raises
        InvalidRequest naming `source`, or Unavailable when the hub cannot be reached."""
        try:
            source = parse_source(text)
        except ValueError as error:
            raise wrong_source(str(error)) from None
        if source.kind == "hf":
            return self._repository(source) if as_operator else self._open_repository(source)
        if source.kind == "path":
            return self._folder(source)
        return InspectedSource(source)

    def _folder(self, source: Source) -> InspectedSource:
        folder = self._under_root(source.location)
        if folder is None:
            raise wrong_source("must be a folder under one of this server's model roots (MODEL_ROOTS)")
        names = sorted(_walk(folder))
        configs = {name: _parsed((folder / name).read_bytes()) for name in CONFIG_FILES if name in names}
        files = ModelFiles(names, configs)
        return InspectedSource(replace(source, location=str(folder)), files, _fingerprint(folder, names))

    def _under_root(self, location: str) -> Path | None:
        for root in self._roots:
            with contextlib.suppress(OSError, ValueError):
                folder = (root / location).resolve()
                if folder.is_relative_to(root) and folder.is_dir():
                    return folder
        return None

    def _repository(self, source: Source) -> InspectedSource:
        try:
            return self._inspect(self._hub, source)
        except HubGated:
            raise wrong_source("is a gated model: accept its terms on the hub and set HF_TOKEN") from None
        except HubNoRepository:
            raise wrong_source("was not found on the hub (or is private: set HF_TOKEN)") from None

    def _open_repository(self, source: Source) -> InspectedSource:
        try:
            return self._inspect(self._open_hub, source, only_open=True)
        except HubGated:
            raise wrong_source("is a gated model, which only administrators can register") from None
        except HubNoRepository:
            raise wrong_source(
                "was not found on the hub (or is private: only administrators can register it)"
            ) from None

    def _inspect(self, hub: HubClient, source: Source, *, only_open: bool = False) -> InspectedSource:
        """Raises HubGated, HubNoRepository, InvalidRequest, Unavailable."""
        try:
            repository = hub.repository(source.location, source.revision, seconds=INFO_SECONDS)
            if only_open and not repository.is_open:  # its list of files is, so a worker would fetch them
                raise HubGated(source.location)
            names = sorted(name for name, _ in repository.files)
            small = [name for name in CONFIG_FILES if name in names]
            contents = hub.read_files(source.location, repository.commit, small)
        except (HubGated, HubNoRepository):
            raise
        except HubNoRevision:
            raise wrong_source("has no such revision on the hub") from None
        except HubFailed as error:
            raise Unavailable(
                "The Hugging Face hub cannot be reached. Try again later.", retry_after=30
            ) from error
        configs = {name: _parsed(content) for name, content in contents.items()}
        files = ModelFiles(names, configs, repository.tag)
        return InspectedSource(replace(source, revision=repository.commit), files)


def _walk(folder: Path) -> Iterator[str]:
    """Names of the regular files, relative to the folder. Links are left out: they may point anywhere."""
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise wrong_source(f"has more than {MOST_FILES} files")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix()


def _fingerprint(folder: Path, names: list[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        path = folder / name
        digest.update(f"{name}\x00{path.stat().st_size}\x00".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            if path.stat().st_size > 2 * EDGE:
                file.seek(-EDGE, 2)
            digest.update(file.read(EDGE))
    return digest.hexdigest()


def _parsed(content: bytes) -> Any:
    if len(content) > LARGEST_CONFIG:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
