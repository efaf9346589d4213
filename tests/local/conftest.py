"""Data directories and launchers for the tests of `app/local`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import Launchers, processes_of
from waiting import eventually

from app.local.embedded import EmbeddedServers


@pytest.fixture(scope="session")
def started_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after its first start and stop. Making one costs an initdb, copying it does not."""
    path = tmp_path_factory.mktemp("started-once") / "data"
    with EmbeddedServers(path):
        pass
    return path


@pytest.fixture
def new_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that does not exist yet. Nothing may run over it when the test is done."""
    path = tmp_path / "lovage data"  # a space in the path is ordinary
    yield path
    eventually(lambda: not processes_of(path))


@pytest.fixture
def data_dir(new_dir: Path, started_once: Path) -> Path:
    """A data directory that has been started before."""
    shutil.copytree(started_once, new_dir)
    return new_dir


@pytest.fixture
def launchers(new_dir: Path) -> Iterator[Launchers]:
    """Ends, before the directory is looked at, what a failed test left."""
    launchers = Launchers()
    yield launchers
    for process in launchers.started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
