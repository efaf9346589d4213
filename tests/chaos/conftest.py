"""One platform of two workers for the tests that break it, started as `make chaos` starts it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from broken_platform import BrokenPlatform

from app.local.detached import down
from app.local.platform_state import read_platform
from scripts.chaos.__main__ import start


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="lovage-broken-"))
    start(made, WORKER_GRACE_SECONDS="4")
    family = psutil.Process(state_of(made).pid).children(recursive=True)
    yield made
    family += psutil.Process(state_of(made).pid).children(recursive=True)
    down(made, lambda text: None)
    _, left = psutil.wait_procs(set(family), timeout=20)
    assert not left, f"left behind: {left}"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def platform(folder: Path) -> Iterator[BrokenPlatform]:
    opened = BrokenPlatform(state_of(folder))
    yield opened
    opened.mend()


def state_of(folder: Path):  # type: ignore[no-untyped-def]
    found = read_platform(folder)
    assert found is not None
    return found
