"""A version is its content: what a worker loads is what was registered, or is refused with what to do."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from accepting import accept, rows
from waiting import eventually

from app.composition_core import Core
from app.db import models, versions
from app.domain.signature import read_schemas
from app.domain.versions import CompleteVersion, VersionSpec
from app.folder_content import check_unchanged
from app.runtimes.demo import SHIPPED
from app.services.catalogue.sources import SourceReader
from app.settings import Settings

CODE = "def predict(word: str) -> str:\n    return word.upper()\n"
NEWER = CODE.replace("upper", "title")


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"model_roots": str(tmp_path / "models")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "mine"
    made.mkdir(parents=True)
    (made / "predictor.py").write_text(CODE)
    return made


def register(core: Core, folder: Path) -> str:
    """A version of ada/echo's, of what the folder holds now."""
    inspected = SourceReader([folder.parent]).inspect(f"path:{folder}")
    inputs, outputs, streams = read_schemas((folder / "predictor.py").read_text())
    spec = VersionSpec("ada/echo", str(inspected.source), "python", "", {}, inputs, inspected.fingerprint)
    with core.database.unit() as session:
        model = models.by_name(session, "ada", "echo")
        assert model is not None
        return versions.put(session, model.id, CompleteVersion(spec, outputs, bool(streams)), None).id


def test_an_old_version_never_runs_the_new_code(parts: SimpleNamespace, folder: Path) -> None:
    old = register(parts.core, folder)
    parts.ending_writer.start()
    parts.intake.start()
    assert run(parts, old) == ("succeeded", "MOBY DICK")
    (folder / "predictor.py").write_text(NEWER)
    parts.engine.release(old)
    eventually(lambda: parts.engine.states().get(old) in (None, "absent"))
    status, said = run(parts, old)
    assert status == "failed"
    assert "the model's folder has changed since this version was registered: register it again" in said
    assert str(folder) not in said
    new = register(parts.core, folder)
    assert new != old
    assert run(parts, new) == ("succeeded", "Moby Dick")


def run(parts: SimpleNamespace, version: str) -> tuple[str, str]:
    """How a prediction ends, and its output or its error."""
    [one] = accept(parts, {"word": "moby dick"}, version=version)
    parts.intake.on_message(one)
    eventually(lambda: rows(parts, [one])[0].ended, seconds=60)
    ended = rows(parts, [one])[0]
    return ended.status, ended.output if ended.error is None else ended.error


CHANGES: list[tuple[str, Callable[[Path], object], bool]] = [
    ("nothing", lambda folder: None, True),
    ("the time of a file", lambda folder: (folder / "predictor.py").touch(), True),
    ("Python's cache", lambda folder: write(folder / "__pycache__" / "predictor.pyc"), True),
    ("what git keeps", lambda folder: write(folder / ".git" / "index"), True),
    ("one more file", lambda folder: write(folder / "words.txt"), False),
    ("a file less", lambda folder: (folder / "predictor.py").unlink(), False),
    ("another name", lambda folder: (folder / "predictor.py").rename(folder / "p.py"), False),
    ("one byte", lambda folder: (folder / "predictor.py").write_text(CODE.replace("u", "l")), False),
]


def write(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")


@pytest.mark.parametrize(("what", "change", "is_same"), CHANGES, ids=[what for what, *_ in CHANGES])
def test_content_is_what_would_be_loaded(
    folder: Path, what: str, change: Callable[[Path], object], is_same: bool
) -> None:
    fingerprint = SourceReader([folder.parent]).inspect(f"path:{folder}").fingerprint
    change(folder)
    if is_same:
        check_unchanged([folder], fingerprint)
    else:
        with pytest.raises(ValueError, match="has changed"):
            check_unchanged([folder], fingerprint)


def test_looking_at_a_model_before_its_load_takes_milliseconds() -> None:
    fingerprint = SourceReader([SHIPPED]).inspect(f"path:{SHIPPED}/words").fingerprint
    best = 9.0
    for _ in range(5):
        began = time.perf_counter()
        check_unchanged([SHIPPED / "words"], fingerprint)
        best = min(best, time.perf_counter() - began)
    assert best < 0.05
