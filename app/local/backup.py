"""Backups: one archive with all that cannot be made again, and its way back.

    manifest.json           what is in it, and of which release
    database.dump           pg_dump's own format
    storage/…               the files of a local storage; of a bucket, `bucket.json` lists them
    private/…               the secrets of the data directory

The database goes first: a file without its row is only in the way, a row without its file is a loss. Knows
Postgres' tools and files; does not know what is in the tables, and reads no settings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.local.errors import LocalError
from app.local.postgres import binary_folder

MANIFEST, DUMP = "manifest.json", "database.dump"
BUCKET = "bucket.json"
STORAGE, PRIVATE = "storage", "private"
PRIVATE_FILES = ("secrets.json", "key", "admin-password")
PARTIAL = ".partial"  # files that a storage is just writing
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an archive holds. `storage` is `local` or `s3`; `files` of it."""

    format: int
    release: str
    made_at: str
    storage: str
    files: int


@dataclasses.dataclass(frozen=True)
class Installation:
    """Where a platform's data are. `storage_folder` None: in a bucket, whose keys are `bucket_keys`."""

    data_dir: Path
    database_url: str = dataclasses.field(repr=False)
    storage_folder: Path | None
    bucket_keys: Iterable[str] = ()


def write_backup(installation: Installation, target: Path, release: str) -> Manifest:
    """Writes the archive in one step, readable by its owner alone. Raises LocalError with a sentence."""
    draft = target.with_name(target.name + ".part")
    with tempfile.TemporaryDirectory(prefix="lovage-backup-", dir=target.parent) as scratch:
        folder = Path(scratch)
        _run("pg_dump", installation.database_url, f"--file={folder / DUMP}", "--format=custom")
        keys = _keys(installation, folder)
        kind = "s3" if installation.storage_folder is None else "local"
        manifest = Manifest(FORMAT, release, datetime.now(UTC).isoformat(), kind, len(keys))
        (folder / MANIFEST).write_text(json.dumps(dataclasses.asdict(manifest), indent=1))
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                with tarfile.open(fileobj=file, mode="w") as archive:
                    _fill(archive, installation, folder, keys)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise LocalError(f"{target}: could not be written: {error.strerror}.") from error
    return manifest


def _keys(installation: Installation, scratch: Path) -> list[str]:
    if installation.storage_folder is not None:
        return sorted(_files_below(installation.storage_folder))
    keys = sorted(installation.bucket_keys)
    (scratch / BUCKET).write_text(json.dumps(keys))
    return keys


def _files_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(f"{PARTIAL}/"):
            yield name


def _fill(archive: tarfile.TarFile, installation: Installation, scratch: Path, keys: list[str]) -> None:
    for name in (MANIFEST, DUMP, BUCKET):
        if (scratch / name).exists():
            archive.add(scratch / name, name)
    for name in PRIVATE_FILES:
        if (installation.data_dir / name).exists():
            archive.add(installation.data_dir / name, f"{PRIVATE}/{name}")
    if installation.storage_folder is None:
        return
    for key in keys:
        with contextlib.suppress(FileNotFoundError):  # removed since it was listed, and its row is by now
            archive.add(installation.storage_folder / key, f"{STORAGE}/{key}")


def read_manifest(source: Path) -> Manifest:
    """What an archive holds. Raises LocalError for what is none of ours."""
    try:
        with tarfile.open(source) as archive:
            text = archive.extractfile(MANIFEST)
            manifest = Manifest(**json.loads(text.read() if text else b""))
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise LocalError(f"{source}: is not a backup of Lovage ({error}).") from error
    if manifest.format != FORMAT:
        raise LocalError(f"{source}: was made by Lovage {manifest.release}, whose backups are others.")
    return manifest


def restore_private(source: Path, data_dir: Path) -> None:
    """Puts the data directory's secrets back, before its servers start. Files that are there stay."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(source) as archive:
        for name in PRIVATE_FILES:
            if f"{PRIVATE}/{name}" in archive.getnames() and not (data_dir / name).exists():
                member = archive.getmember(f"{PRIVATE}/{name}")
                member.name = name
                archive.extract(member, data_dir, filter="data")
                (data_dir / name).chmod(0o600)


def restore_backup(source: Path, installation: Installation, *, replace: bool) -> list[str]:
    """Puts database and files back; `replace`: over what is there. Returns the keys that the bucket lacks.
    Raises LocalError, and the database is as it was."""
    with tempfile.TemporaryDirectory(prefix="lovage-restore-") as scratch, tarfile.open(source) as archive:
        folder, names = Path(scratch), set(archive.getnames())
        archive.extract(DUMP, folder, filter="data")
        options = ["--clean", "--if-exists"] if replace else []
        _run(
            "pg_restore",
            installation.database_url,
            "--single-transaction",
            "--exit-on-error",
            *options,
            folder / DUMP,
        )
        if installation.storage_folder is not None:
            _restore_files(archive, installation.storage_folder)
        if BUCKET not in names:
            return []
        listing = archive.extractfile(BUCKET)
        return sorted(set(json.loads(listing.read() if listing else b"[]")) - set(installation.bucket_keys))


def _restore_files(archive: tarfile.TarFile, folder: Path) -> None:
    prefix = f"{STORAGE}/"
    for member in archive.getmembers():
        if member.name.startswith(prefix):
            member.name = member.name.removeprefix(prefix)
            archive.extract(member, folder, filter="data")


def _run(tool: str, database_url: str, *arguments: str | Path) -> None:
    """The password is in the environment: command lines are everybody's to see."""
    url = urlsplit(database_url)
    target = {
        "PGHOST": url.hostname or "",
        "PGPORT": str(url.port or ""),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": unquote(url.path.lstrip("/")),
    }
    database = ["--dbname", target["PGDATABASE"]]
    command = [_find(tool), "--no-owner", "--no-privileges", *database, *map(str, arguments)]
    environment = {**os.environ, **{name: value for name, value in target.items() if value}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"{tool} failed: {done.stderr.strip()[-1_000:]}")


def _find(tool: str) -> str:
    """The embedded servers' tool, which is new and speaks with older servers; else the machine's."""
    try:
        if (path := binary_folder() / tool).exists():
            return str(path)
    except LocalError:
        pass
    if machines := shutil.which(tool):
        return machines
    raise LocalError(f"{tool} is not installed: it comes with Postgres, or with lovage[embedded].")
