"""How the tests run in several processes at once (pytest-xdist), and which of them need the machine alone.

Each process starts the servers that its tests want: a Postgres and a Valkey of its own, so that a test may
empty either. A test file stays in one process; so does each folder whose tests share a platform, because
that takes long to start. A test marked `alone` measures time or concurrency, or works against a limit of a
few seconds: while it runs, no other process runs a test.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Folders whose tests share one platform; they take longest, so they begin first.
SHARED_PLATFORM = ("end_to_end", "abuse", "chaos")
BROKEN_ON_PURPOSE = "chaos"
# Playwright's event loop runs in its process until the end, so that no asynchronous test may come after it:
# the tests with a browser are a group of their own, and the last one.
BROWSER = "browser"
PLATFORM_TIMEOUT = 300  # seconds; the first test of such a folder waits until everything has started


class ByFolderOrFile(LoadScopeScheduling):
    """Gives a process a file at a time, or one of the folders with a shared platform."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return BROWSER if in_browser(nodeid) else platform_folder(nodeid) or file


def platform_folder(nodeid: str) -> str:
    """The folder of SHARED_PLATFORM that a test is in, or an empty text."""
    parts = nodeid.partition("::")[0].split("/")
    return next((folder for folder in SHARED_PLATFORM if folder in parts[:-1]), "")


def in_browser(nodeid: str) -> bool:
    """Whether a test drives a browser."""
    return nodeid.partition("::")[0].rpartition("/")[2].startswith("test_web_") and "end_to_end" in nodeid


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Platforms are broken on purpose by `make chaos`: three minutes that not every run of tests spends."""
    if collection_path != Path(__file__).with_name(BROKEN_ON_PURPOSE):
        return None
    return True if not any(BROKEN_ON_PURPOSE in argument for argument in config.args) else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolderOrFile:
    config.option.loadscopereorder = False  # the order is that of the collection, see below
    return ByFolderOrFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = platform_folder(item.nodeid)
        if folder and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PLATFORM_TIMEOUT))
    if hasattr(config, "workerinput"):
        # Stable: the others stay as they are.
        items.sort(key=lambda item: 2 if in_browser(item.nodeid) else not platform_folder(item.nodeid))


class MachineLock:
    """Shared by every test that runs, exclusive for one that must be alone; two files that exist are locked.

    Each holder opens the files anew, so the lock holds between processes, and between threads too.
    """

    def __init__(self, turnstile: Path, machine: Path) -> None:
        self._turnstile, self._machine = turnstile, machine

    @contextmanager
    def held(self, *, exclusively: bool) -> Iterator[None]:
        """Who wants it exclusively waits inside the turnstile, so that the others begin no further test."""
        with self._machine.open() as machine:
            with self._turnstile.open() as turnstile, _locked(turnstile, fcntl.LOCK_EX):
                fcntl.flock(machine, fcntl.LOCK_EX if exclusively else fcntl.LOCK_SH)
            try:
                yield
            finally:
                # A forked child may still have this open file, and then closing it would not free the lock.
                fcntl.flock(machine, fcntl.LOCK_UN)


@contextmanager
def _locked(file: IO[str], kind: int) -> Iterator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


LOCK = MachineLock(turnstile=Path(__file__).with_name("conftest.py"), machine=Path(__file__))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the timeout of the test, which has not begun yet
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with LOCK.held(exclusively=item.get_closest_marker("alone") is not None):
        return (yield)
