"""One platform of two workers for the tests that break it, started as `make chaos` starts it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from broken_platform import BrokenPlatform

from app.local.platform_state import Platform
from scripts.chaos.__main__ import family_of
from scripts.own_platform import start, stop


@pytest.fixture(scope="session")
def started() -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="lovage-broken-"))
    state = start(folder, WORKER_GRACE_SECONDS="4")
    family = family_of(state)
    yield state
    family |= family_of(state)
    stop(folder)
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left, f"left behind: {left}"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def platform(started: Platform) -> Iterator[BrokenPlatform]:
    opened = BrokenPlatform(started)
    yield opened
    opened.mend()
