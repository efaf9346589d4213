"""`lovage backup` and `lovage restore`: everything that cannot be made again, into one file and back."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connection import EXIT_USAGE, JSON, show_outcome, stop
from app.settings import Settings, load_client, load_with

if TYPE_CHECKING:
    from app.local.backup import Installation

PANEL = "The platform on this machine"
DATA_DIR = typer.Option("--data", help="Where everything is kept (LOVAGE_DATA_DIR).")


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (backup, restore):
        app.command(rich_help_panel=PANEL)(command)


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to be written, such as lovage.tar.")],
    data: Annotated[Path | None, DATA_DIR] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Write the database, the files and the secrets into one archive, while the platform runs or not. Of a
    bucket it holds the list of its files: the bucket is copied by its own means."""
    from app import __version__
    from app.local.backup import write_backup
    from app.local.errors import LocalError

    folder = (data or load_client().lovage_data_dir).absolute()
    try:
        with _database(folder) as settings:
            manifest = write_backup(_installation(settings, folder), file.absolute(), __version__)
    except LocalError as error:
        stop(str(error))
    what = "files" if manifest.storage == "local" else "files of the bucket listed"
    sentence = f"{file}: the database, {manifest.files} {what}, and the secrets of {folder}. Keep it secret."
    show_outcome({"file": str(file), **asdict(manifest)}, sentence, as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="An archive of `lovage backup`.")],
    data: Annotated[Path | None, DATA_DIR] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Over a database that has tables: what is in it is lost."),
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Put a backup back: into the data directory of a platform that does not run, or into DATABASE_URL and
    the storage of the settings. Then brings the database to this release's schema."""
    from app.db import migrate
    from app.local.backup import read_manifest, restore_backup, restore_private
    from app.local.errors import LocalError
    from app.local.platform_state import is_running

    folder = (data or load_client().lovage_data_dir).absolute()
    if is_running(folder):
        stop(f"a platform runs on {folder}: `lovage down --data {folder}` stops it", EXIT_USAGE)
    try:
        manifest = read_manifest(file)
        restore_private(file, folder)
        with _database(folder) as settings:
            missing = restore_backup(file, _installation(settings, folder), replace=replace)
            migrate.upgrade(settings.database_url, "head")
    except LocalError as error:
        stop(str(error))
    outcome = {**asdict(manifest), "missing": missing}
    show_outcome(outcome, f"restored from {manifest.made_at[:16]}, release {manifest.release}", as_json)
    if missing:
        stop(f"the bucket lacks {len(missing)} files, such as {missing[0]}: copy them back")


@contextmanager
def _database(folder: Path) -> Iterator[Settings]:
    """The settings with a DATABASE_URL that answers: the running platform's, the one that is set, or the
    embedded server's, which runs for as long."""
    from app.local.embedded import EmbeddedServers
    from app.local.platform_state import read_platform

    secret = {"LOVAGE_ENV": "development", "SECRET_KEY": secrets.token_hex(32)}  # nothing is signed with it
    settings = load_with(secret).model_copy(update={"lovage_data_dir": folder})
    if platform := read_platform(folder):
        yield settings.model_copy(update={"database_url": platform.database_url})
    elif settings.database_url:
        yield settings
    else:
        with EmbeddedServers(folder, valkey=False) as urls:
            yield settings.model_copy(update={"database_url": urls.database_url})


def _installation(settings: Settings, folder: Path) -> "Installation":
    from app.composition_core import storage_options
    from app.local.backup import Installation
    from app.storage import open_storage

    if settings.storage == "local":
        return Installation(folder, settings.database_url, settings.storage_folder)
    return Installation(folder, settings.database_url, None, open_storage(storage_options(settings)).list(""))
