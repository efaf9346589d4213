"""A backup that is put back: every row, every file and every secret is there again."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from app.cli import app as lovage
from app.db.session import Database, connect
from app.db.tables import Base
from app.local.backup import Installation, restore_backup, write_backup
from app.local.embedded import EmbeddedServers
from app.local.errors import LocalError


def rows_of(database: Database) -> dict[str, list[str]]:
    """All tables, each row as text."""
    with database.unit() as session:
        return {
            name: sorted(map(str, session.execute(text(f'SELECT t::text FROM "{name}" AS t')).scalars()))
            for name in [*Base.metadata.tables, "alembic_version"]
        }


@pytest.fixture
def installation(tmp_path: Path, servers: Any, database: Database) -> Installation:
    """A platform's data: rows, files with their types, secrets."""
    insert = text("""INSERT INTO predictions (id, version_id, model, queue, status, input, logs)
        SELECT lpad(n::text, 26, '0'), 'v', 'a/b', 'cpu', 'succeeded', '{"text": "dill µ"}', 'line'
        FROM generate_series(1, 500) AS n""")
    with database.unit() as session:
        session.execute(insert)
    home = tmp_path / "home"
    for name in ("outputs/1/a.png", ".types/outputs/1/a.png", "files/b c.txt", ".partial/half"):
        path = home / "storage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (home / "key").write_text("lov_secret")
    return Installation(home, servers.database_url, home / "storage")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(lovage, arguments, env={"LOVAGE_DATA_DIR": "", "DATABASE_URL": ""})


@pytest.fixture
def restored(tmp_path: Path, installation: Installation) -> tuple[Path, Result]:
    """What `lovage restore` makes in a folder where nothing was, with an embedded Postgres of its own."""
    archive, folder = tmp_path / "lovage.tar", tmp_path / "again"
    write_backup(installation, archive, "0.2.0")
    assert archive.stat().st_mode & 0o777 == 0o600
    return folder, run("restore", str(archive), "--data", str(folder))


def test_nothing_is_missing_in_another_servers_database_and_folder(
    restored: tuple[Path, Result], database: Database, installation: Installation
) -> None:
    folder, done = restored
    assert (done.exit_code, "release 0.2.0" in done.output) == (0, True), done.output
    assert (folder / "key").read_text() == "lov_secret"
    names = {path.relative_to(folder / "storage").as_posix() for path in (folder / "storage").rglob("*.*")}
    assert {"outputs/1/a.png", ".types/outputs/1/a.png", "files/b c.txt"} <= names
    assert ".partial/half" not in names
    with EmbeddedServers(folder, valkey=False) as urls:
        other = Database(connect(urls.database_url, pool=1))
        assert rows_of(other) == rows_of(database)
        other.close()
    assert len(rows_of(database)["predictions"]) == 500
    again = run("restore", str(folder.parent / "lovage.tar"), "--data", str(folder))
    assert (again.exit_code, "already exists" in again.output) == (1, True)


def test_of_a_bucket_the_list_is_kept_and_what_it_lacks_later_is_named(
    tmp_path: Path, installation: Installation
) -> None:
    archive = tmp_path / "lovage.tar"
    bucket = Installation(installation.data_dir, installation.database_url, None, ["outputs/a", "outputs/b"])
    assert write_backup(bucket, archive, "0.2.0").files == 2
    with tarfile.open(archive) as opened:
        listing = opened.extractfile("bucket.json")
        assert listing is not None
        assert json.loads(listing.read()) == ["outputs/a", "outputs/b"]
    later = Installation(installation.data_dir, installation.database_url, None, ["outputs/b"])
    assert restore_backup(archive, later, replace=True) == ["outputs/a"]


def test_what_is_no_backup_is_said_to_be_none(tmp_path: Path, installation: Installation) -> None:
    (tmp_path / "other.tar").write_text("no archive")
    done = run("restore", str(tmp_path / "other.tar"), "--data", str(tmp_path / "x"))
    assert (done.exit_code, "is not a backup of Lovage" in done.output) == (1, True)
    with pytest.raises(LocalError, match="pg_dump failed"):
        write_backup(
            Installation(tmp_path, "postgresql://nobody:x@127.0.0.1:1/no", None), tmp_path / "a.tar", "0"
        )
