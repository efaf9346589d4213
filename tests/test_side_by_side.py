"""Tests that run at once keep out of each other's way, and start no server that they do not want."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from side_by_side import (
    ALONE,
    CLIENT_FILES,
    ORDINARY,
    QUIET,
    SHARED_PLATFORM,
    MachineLock,
    is_of_clients,
    platform_folder,
)

ROOT = Path(__file__).parents[1]


class Running:
    """A test in a thread: it has begun once it holds the lock."""

    def __init__(self, lock: MachineLock, kind: str = ORDINARY) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(lock, kind))
        self._thread.start()

    def _run(self, lock: MachineLock, kind: str) -> None:
        with lock.held(kind):
            self.begun.set()
            self.may_end.wait(10)

    def end(self) -> None:
        self.may_end.set()
        self._thread.join()


@pytest.fixture
def lock(tmp_path: Path) -> MachineLock:
    files = [tmp_path / name for name in ("turnstile", "ordinary", "quiet")]
    for file in files:
        file.touch()
    return MachineLock(*files)


def test_a_test_that_must_be_alone_waits_for_the_others_and_holds_new_ones_back(lock: MachineLock) -> None:
    first, second = Running(lock), Running(lock)
    assert first.begun.wait(5)
    assert second.begun.wait(5)
    alone = Running(lock, ALONE)
    first.end()
    assert not alone.begun.wait(0.2), "the second still runs"
    late = Running(lock)
    assert not late.begun.wait(0.2), "one that must be alone waits already"
    second.end()
    assert alone.begun.wait(5)
    assert not late.begun.is_set()
    alone.end()
    assert late.begun.wait(5)
    late.end()


def test_quiet_tests_run_beside_each_other_and_beside_no_others(lock: MachineLock) -> None:
    ordinary = Running(lock)
    assert ordinary.begun.wait(5)
    quiet = Running(lock, QUIET)
    assert not quiet.begun.wait(0.2), "an ordinary one still runs"
    ordinary.end()
    assert quiet.begun.wait(5)
    second = Running(lock, QUIET)
    assert second.begun.wait(5)
    late, alone = Running(lock), Running(lock, ALONE)
    assert not late.begun.wait(0.2)
    assert not alone.begun.is_set()
    quiet.end()
    second.end()
    assert late.begun.wait(5) or alone.begun.wait(5)
    late.end()
    alone.end()
    assert late.begun.is_set()
    assert alone.begun.is_set()


def test_the_folders_with_a_shared_platform_exist() -> None:
    assert all((ROOT / "tests" / folder).is_dir() for folder in SHARED_PLATFORM)
    assert platform_folder("tests/end_to_end/test_operators.py::test_a") == "end_to_end"
    assert platform_folder("tests/engine/test_end_to_end.py::test_a") == ""


def test_the_files_of_clients_exist_and_are_a_group_of_their_own() -> None:
    folder = Path(__file__).with_name("end_to_end")
    for beginning in CLIENT_FILES:
        assert list(folder.glob(f"{beginning}*.py")), beginning
    assert is_of_clients("tests/end_to_end/test_snippets.py::test_a_snippet_runs[README]")
    assert not is_of_clients("tests/end_to_end/test_operators.py::test_a")


def test_the_tests_of_the_engine_start_no_server() -> None:
    command = [sys.executable, "-m", "pytest", "--setup-plan", "-p", "no:cacheprovider", "tests/engine"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    fixtures = set(re.findall(r"^ *SETUP +\w (\w+)", plan, re.MULTILINE))
    assert "shared_engine" in fixtures
    assert fixtures.isdisjoint({"servers", "pool", "database", "platform"})
