"""Whose files are where: the platform has one storage, and a process with another refuses to start."""

from pathlib import Path

import pytest

from app.composition_core import Core, storage_options
from app.db import platform_facts
from app.db.session import Database
from app.services.platform.storage_identity import FACT, KEY, StorageIdentity, WrongStorage
from app.settings import Settings
from app.storage import location_of, open_storage


@pytest.fixture
def identity(core: Core) -> StorageIdentity:
    return core.storage_identity


def another(database: Database, settings: Settings, folder: Path) -> StorageIdentity:
    """Of a process whose storage is another folder."""
    options = storage_options(settings.model_copy(update={"storage_dir": folder}))
    return StorageIdentity(database, open_storage(options), location_of(options))


def test_the_api_says_which_storage_is_the_platforms_and_others_compare(
    core: Core, identity: StorageIdentity, settings: Settings, tmp_path: Path
) -> None:
    assert not identity.verify(), "no API has started yet"
    for _ in range(2):
        identity.establish()
        assert identity.verify()
    assert core.storage.exists(KEY)
    wrong = another(core.database, settings, tmp_path / "elsewhere")
    for check in (wrong.verify, wrong.establish):
        with pytest.raises(WrongStorage) as refused:
            check()
        for part in (str(settings.storage_folder), str(tmp_path / "elsewhere"), "STORAGE_DIR", "--accept"):
            assert part in refused.value.detail
    assert not (tmp_path / "elsewhere").exists(), "nothing was written there"


def test_a_storage_that_moved_with_its_files_is_the_platforms(
    core: Core, identity: StorageIdentity, settings: Settings, tmp_path: Path
) -> None:
    identity.establish()
    settings.storage_folder.rename(tmp_path / "moved")
    assert another(core.database, settings, tmp_path / "moved").verify()


def test_a_new_storage_can_be_made_the_platforms(
    core: Core, identity: StorageIdentity, settings: Settings, tmp_path: Path
) -> None:
    identity.establish()
    new = another(core.database, settings, tmp_path / "new")
    new.accept()
    assert new.verify()
    with pytest.raises(WrongStorage, match="which has another's id"):
        identity.verify()


def test_a_process_that_died_before_it_wrote_the_id_keeps_nobody_from_starting(
    core: Core, identity: StorageIdentity
) -> None:
    with core.database.unit() as session:
        platform_facts.add(session, FACT, {"id": "half", "location": "here", "written": False})
    assert not identity.verify()
    identity.establish()
    assert identity.verify()
    assert b"".join(core.storage.open(KEY)[0]) == b"half"


def test_a_storage_with_an_id_keeps_it_for_a_new_database(core: Core, identity: StorageIdentity) -> None:
    core.storage.put(KEY, b"kept", "text/plain")
    identity.establish()
    assert b"".join(core.storage.open(KEY)[0]) == b"kept"
    assert identity.verify()
