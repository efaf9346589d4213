"""Downloaded models on disk: those unused for longest are evicted, none that anybody uses."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.domain.errors import ModelUnavailable
from app.outbound.deadline import CallCanceled
from app.worker import model_store
from app.worker.model_store import ModelStore


@pytest.fixture(autouse=True)
def unused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "UNUSED_SECONDS", 0.0)


def download(store: ModelStore, name: str, size: int = 100, *, age: float = 0.0) -> Path:
    """As ModelFiles does it; last used so many seconds ago."""
    folder = store.folder("hf", name, "main")
    with store.writing(folder, lambda: False):
        store.free_space(folder, size)
        (folder / "model.safetensors").write_bytes(bytes(size))
        store.complete(folder)
    assert store.use(folder)
    os.utime(folder / model_store.DONE_MARK, (time.time() - age,) * 2)
    return folder


def test_the_models_unused_for_longest_free_space(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, 350, tuple)
    old, older, new = (download(store, name, age=age) for name, age in (("b", 20), ("a", 30), ("c", 10)))
    download(store, "d")
    assert [folder.exists() for folder in (older, old, new)] == [False, True, True]
    assert store.use(old)
    download(store, "e")
    assert [folder.exists() for folder in (old, new)] == [True, False], "asked for a moment ago"
    assert not store.use(new)


def test_no_model_in_use_is_removed(tmp_path: Path) -> None:
    in_use: set[str] = set()
    store = ModelStore(tmp_path, 250, lambda: in_use)
    loaded, idle = download(store, "loaded", age=100), download(store, "idle")
    in_use.add(str(loaded))
    assert store.use(loaded)
    third = download(store, "third")
    assert (loaded.exists(), idle.exists()) == (True, False)
    in_use.add(str(third))
    assert store.use(third)
    with pytest.raises(ModelUnavailable, match="MODEL_DISK_BYTES"):
        download(store, "fourth")


def test_what_another_worker_uses_stays_until_that_one_is_gone(tmp_path: Path) -> None:
    here = ModelStore(tmp_path, 250, tuple)
    folder = download(here, "theirs", age=100)
    here._let_go_of_unused()
    script = (
        "import sys; from pathlib import Path; from app.worker.model_store import ModelStore;"
        f"assert ModelStore(Path({str(tmp_path)!r}), 0, tuple).use(Path({str(folder)!r}));"
        "print('used', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"used\n"
        mine = download(here, "mine")
        download(here, "more")
        assert (folder.exists(), mine.exists()) == (True, False)
        other.kill()
    download(here, "last")
    assert not folder.exists()


def test_what_was_broken_off_goes_first_and_is_never_used(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, 250, tuple)
    whole, half = download(store, "whole", age=100), store.folder("hf", "half", "main")
    with store.writing(half, lambda: False):
        (half / "model.safetensors").write_bytes(bytes(90))
    assert not store.use(half)
    download(store, "next")
    assert (whole.exists(), half.exists()) == (True, False)


def test_without_a_budget_some_of_the_disk_stays_free(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="space"):
        download(ModelStore(tmp_path, 0, tuple), "huge", 10**18)


def test_two_workers_never_write_one_folder_at_once(tmp_path: Path) -> None:
    first, second = ModelStore(tmp_path, 0, tuple), ModelStore(tmp_path, 0, tuple)
    folder, looks = first.folder("hf", "x", "main"), iter([False, True])
    with (
        first.writing(folder, lambda: False),
        pytest.raises(CallCanceled),
        second.writing(folder, lambda: next(looks)),
    ):
        pass
    with second.writing(folder, lambda: False):
        pass
