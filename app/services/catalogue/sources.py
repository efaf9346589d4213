"""Looks at where a version's files come from, before it is registered: pins the revision and lists the files.

`hf:` asks the hub (HF_ENDPOINT honoured), `path:` looks into a folder under a model root, of `s3:` the
objects are listed. Downloads no weights and decides nothing; workers fetch.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from app.domain.errors import Unavailable
from app.domain.model_downloads import select_downloads
from app.domain.model_uploads import ModelUpload
from app.domain.versions import Source, parse_source
from app.folder_content import hash_folder, hash_objects
from app.outbound.hub import HubFailed, HubGated, HubNoRepository, HubNoRevision
from app.outbound.hub_lookup import LOOKUP_SECONDS, HubLookup, look_up
from app.services.catalogue.model_files import (
    CONFIG_FILES,
    LARGEST_CONFIG,
    ModelFiles,
    parse_config,
    read_folder,
    wrong_source,
)

SNAPSHOTS = "snapshots"  # of a repository in the hub's own cache, a folder for each commit


ListBucket = Callable[[str, str], list[tuple[str, int, str]]]


class Uploads(Protocol):
    """What somebody has uploaded (services/catalogue/model_uploads.py)."""

    def inspect(self, upload_id: str) -> tuple[ModelUpload, ModelFiles]: ...


@dataclass(frozen=True, slots=True)
class InspectedSource:
    """A source as it will be stored, its files (None: not read), a hash of what a folder or bucket held, and
    how much a worker will fetch (None: nothing, or not known). `upload`: what it is of."""

    source: Source
    files: ModelFiles | None = None
    fingerprint: str = ""
    download_bytes: int | None = None
    upload: ModelUpload | None = None


class SourceReader:
    """Blocks: network and disk. Use threads."""

    def __init__(
        self,
        roots: list[Path],
        hf_endpoint: str = "",
        hf_token: str = "",
        lookup_seconds: float = LOOKUP_SECONDS,
        *,
        list_bucket: ListBucket | None = None,
        uploads: Uploads | None = None,
    ) -> None:
        self._list_bucket, self._uploads = list_bucket, uploads
        self._roots = [root.resolve() for root in roots]
        self._endpoint, self._token = hf_endpoint, hf_token
        self._seconds = lookup_seconds

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
            return self._folder(source, as_operator)
        if source.kind == "upload" and self._uploads:
            upload, files = self._uploads.inspect(source.location)
            return InspectedSource(source, files, upload.content, upload.bytes, upload)
        return self._bucket(source) if source.kind == "s3" and as_operator else InspectedSource(source)

    def _bucket(self, source: Source) -> InspectedSource:
        """With a hash of what lies there. A server that has no keys for the bucket leaves it to the workers,
        who then take what they get."""
        from app.outbound.s3 import S3Failed

        bucket, _, prefix = source.location.rstrip("/").partition("/")
        try:
            objects = self._list_bucket(bucket, prefix + "/") if self._list_bucket else []
        except S3Failed:
            return InspectedSource(source)
        return InspectedSource(source, None, hash_objects(objects) if objects else "")

    def _folder(self, source: Source, as_operator: bool) -> InspectedSource:
        folder = self._under_root(source.location, as_operator)
        if not _is_folder(folder):
            raise wrong_source("is not there: the server has no such folder under its model roots")
        folder = _snapshot(folder)
        files = read_folder(folder, self._roots)
        return InspectedSource(replace(source, location=str(folder)), files, hash_folder(folder, files.names))

    def _under_root(self, location: str, as_operator: bool) -> Path:
        """The folder that is meant, whether it is there or not. Raises InvalidRequest for one elsewhere: what
        lies there is nobody's business, and where the roots are the operators'."""
        if not self._roots:
            raise wrong_source("has no place here: MODEL_ROOTS is empty (MODEL_ROOTS=/models make up)")
        inside = []
        for root in self._roots:
            with contextlib.suppress(OSError, ValueError):
                folder = (root / location).resolve()
                inside += [folder] if folder.is_relative_to(root) else []
        if not inside:
            roots = ", ".join(map(str, self._roots)) if as_operator else "one of this server's model roots"
            raise wrong_source(f"must be a folder under {roots} (MODEL_ROOTS)")
        return next(filter(_is_folder, inside), inside[0])

    def _repository(self, source: Source) -> InspectedSource:
        try:
            return self._inspect(source, as_operator=True)
        except HubGated:
            raise wrong_source("is a gated model: accept its terms on the hub and set HF_TOKEN") from None
        except HubNoRepository:
            raise wrong_source("was not found on the hub (or is private: set HF_TOKEN)") from None

    def _open_repository(self, source: Source) -> InspectedSource:
        try:
            return self._inspect(source, as_operator=False)
        except HubGated:
            raise wrong_source("is a gated model, which only administrators can register") from None
        except HubNoRepository:
            raise wrong_source(
                "was not found on the hub (or is private: only administrators can register it)"
            ) from None

    def _inspect(self, source: Source, *, as_operator: bool) -> InspectedSource:
        """Raises HubGated, HubNoRepository, InvalidRequest, Unavailable."""
        lookup = HubLookup(
            source.location,
            source.revision or "",
            CONFIG_FILES,
            LARGEST_CONFIG,
            endpoint=self._endpoint,
            token=self._token if as_operator else "",
            only_open=not as_operator,
        )
        try:
            snapshot = look_up(lookup, self._seconds)
        except (HubGated, HubNoRepository):
            raise
        except HubNoRevision:
            raise wrong_source("has no such revision on the hub") from None
        except HubFailed as error:
            raise Unavailable(
                "The Hugging Face hub cannot be reached. Try again later.", retry_after=30
            ) from error
        repository = snapshot.repository
        configs = {name: parse_config(content) for name, content in snapshot.contents.items()}
        sizes = dict(repository.files)
        files = ModelFiles(sorted(sizes), configs, repository.tag, sizes, parameters=repository.parameters)
        size = sum(size for _, size in select_downloads(repository.files))
        return InspectedSource(replace(source, revision=repository.commit), files, download_bytes=size)


def list_bucket(
    endpoint_url: str, region: str, access_key_id: str, secret_access_key: str, bucket: str, prefix: str
) -> list[tuple[str, int, str]]:
    """(name, size, ETag) of what lies in a bucket. Raises S3Failed."""
    from app.outbound import s3  # and with it boto3, which an API process may never need

    client = s3.connect(endpoint_url or None, region, access_key_id or None, secret_access_key or None)
    return s3.S3Objects(client).list_objects(bucket, prefix)


def _is_folder(path: Path) -> bool:
    """Also of a name that no filesystem takes."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _snapshot(folder: Path) -> Path:
    """Of a repository in the hub's own cache (models--org--name), the commit that its `main` is; else the
    folder itself."""
    main = folder / "refs" / "main"
    if not (folder / SNAPSHOTS).is_dir() or not main.is_file():
        return folder
    commit = main.read_text("utf-8").strip()
    snapshot = folder / SNAPSHOTS / commit
    return snapshot if commit.isalnum() and snapshot.is_dir() else folder
