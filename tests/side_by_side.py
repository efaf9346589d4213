"""How the tests run in several processes at once (pytest-xdist), and which of them need the machine alone.

Each process starts the servers that its tests want: a Postgres and a Valkey of its own, so that a test may
empty either. A test file stays in one process; so does each folder whose tests share a platform, because
that takes long to start.

A test marked `quiet` holds processes to deadlines of about a second and needs little of the machine itself:
beside it run only tests of its kind. A test marked `alone` measures time or concurrency: while it runs, no
other process runs a test. All others are ordinary. Files of quiet tests come after the others, so that one
kind does not wait for the other all the time.
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
# Those of end_to_end that are mostly clients of the same API: a process of their own, with a second platform,
# because one process would be busy with that folder long after all others have ended.
CLIENTS = "clients"
CLIENT_FILES = ("test_openai_", "test_other_clients", "test_replicate_", "test_snippets", "test_streams_")
ALONE, QUIET, ORDINARY = "alone", "quiet", "ordinary"
CHAOS = "chaos"
PLATFORM_TIMEOUT = 300  # seconds; the first test of such a folder waits until everything has started


class ByFolderOrFile(LoadScopeScheduling):
    """Gives a process a file at a time, or one of the folders with a shared platform."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return CLIENTS if is_of_clients(nodeid) else platform_folder(nodeid) or file


def platform_folder(nodeid: str) -> str:
    """The folder of SHARED_PLATFORM that a test is in, or an empty text."""
    parts = nodeid.partition("::")[0].split("/")
    return next((folder for folder in SHARED_PLATFORM if folder in parts[:-1]), "")


def is_of_clients(nodeid: str) -> bool:
    """Whether a test of end_to_end is one of CLIENT_FILES."""
    is_end_to_end = platform_folder(nodeid) == "end_to_end"
    return is_end_to_end and nodeid.partition("::")[0].rpartition("/")[2].startswith(CLIENT_FILES)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Platforms are broken on purpose by `make chaos`: three minutes that not every run of tests spends."""
    if collection_path != Path(__file__).with_name(CHAOS):
        return None
    return True if not any(CHAOS in argument for argument in config.args) else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFolderOrFile:
    config.option.loadscopereorder = False  # the order is that of the collection, see below
    return ByFolderOrFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if CHAOS not in config.option.markexpr and not any("::" in argument for argument in config.args):
        left_out = [item for item in items if item.get_closest_marker(CHAOS)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        folder = platform_folder(item.nodeid)
        if folder and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PLATFORM_TIMEOUT))
    if hasattr(config, "workerinput"):
        quiet = {file_of(item) for item in items if item.get_closest_marker(QUIET)}
        items.sort(key=lambda item: turn(item.nodeid, is_quiet=file_of(item) in quiet))  # stable


def turn(nodeid: str, *, is_quiet: bool) -> int:
    """When a test comes: those with a shared platform first."""
    if platform_folder(nodeid):
        return 0
    return 2 if is_quiet else 1


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def kind_of(item: pytest.Item) -> str:
    return next((kind for kind in (ALONE, QUIET) if item.get_closest_marker(kind)), ORDINARY)


class MachineLock:
    """Three files that exist are locked: every test that runs shares that of its kind, and one that must be
    alone has both of them.

    Each holder opens the files anew, so the lock holds between processes, and between threads too.
    """

    def __init__(self, turnstile: Path, ordinary: Path, quiet: Path) -> None:
        self._turnstile, self._ordinary, self._quiet = turnstile, ordinary, quiet

    @contextmanager
    def held(self, kind: str) -> Iterator[None]:
        """Who waits until the tests of another kind have ended does so inside the turnstile, so that nobody
        else begins one meanwhile."""
        with self._ordinary.open() as ordinary, self._quiet.open() as quiet:
            with self._turnstile.open() as turnstile, _locked(turnstile, fcntl.LOCK_EX):
                for file, own in ((ordinary, ORDINARY), (quiet, QUIET)):
                    if kind != own:
                        fcntl.flock(file, fcntl.LOCK_EX)
                if kind == ORDINARY:
                    fcntl.flock(ordinary, fcntl.LOCK_SH)
                    fcntl.flock(quiet, fcntl.LOCK_UN)
                elif kind == QUIET:
                    fcntl.flock(quiet, fcntl.LOCK_SH)
                    fcntl.flock(ordinary, fcntl.LOCK_UN)
            try:
                yield
            finally:
                # A forked child may still have these open files, and then closing them would not free it.
                fcntl.flock(ordinary, fcntl.LOCK_UN)
                fcntl.flock(quiet, fcntl.LOCK_UN)


@contextmanager
def _locked(file: IO[str], kind: int) -> Iterator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


HERE = Path(__file__)
LOCK = MachineLock(HERE.with_name("conftest.py"), ordinary=HERE, quiet=HERE.with_name("waiting.py"))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the timeout of the test, which has not begun yet
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with LOCK.held(kind_of(item)):
        return (yield)
