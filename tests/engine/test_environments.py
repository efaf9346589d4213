"""Folders with requirements of their own: two versions of one library beside each other. The packages are
made here, so that nothing is downloaded."""

import base64
import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_support import Start, submit

from app import package_environment
from app.domain.errors import ModelUnavailable
from app.domain.work import Finished, ModelSpec, Work
from app.engine import environments

PREDICTOR = """
import orjson, thing

def predict(name: str) -> str:
    return f"{name} {thing.VERSION} {orjson.dumps(1).decode()}"
"""


def wheel(folder: Path, version: str) -> None:
    """The library `thing` of this version."""
    about = f"thing-{version}.dist-info"
    files = {
        "thing.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: hashlib.sha256(text.encode()).digest() for name, text in files.items()}
    names = {name: base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for name, digest in digests.items()}
    record = "".join(f"{name},sha256={names[name]},{len(files[name])}\n" for name in files)
    with zipfile.ZipFile(folder / f"thing-{version}-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{about}/RECORD": record + f"{about}/RECORD,,\n"}.items():
            archive.writestr(name, text)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[str, str], ModelSpec]:
    """A version whose folder needs `thing` of a version."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        wheel(wheels, version)

    def make(name: str, needed: str) -> ModelSpec:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "predictor.py").write_text(PREDICTOR)
        (folder / "requirements.txt").write_text(f"--no-index\n--find-links {wheels}\nthing=={needed}\n")
        return ModelSpec(name, f"a/{name}", "python", path=str(folder))

    return make


def test_two_folders_with_two_versions_of_one_library_run_beside_each_other(
    start_engine: Start, make_folder: Callable[[str, str], ModelSpec], tmp_path: Path
) -> None:
    engine = start_engine(environment_folder=str(tmp_path / "environments"))
    old, new = make_folder("old", "1.0"), make_folder("new", "2.0")
    for model in (old, new, old):
        *_, ended = submit(engine, model, Work("w", {"name": model.version})).events()
        number = "1.0" if model is old else "2.0"
        assert isinstance(ended, Finished), ended
        assert ended.output == f"{model.version} {number} 1"
    assert {entry.version for entry in engine.models()} == {"old", "new"}
    built = sorted((tmp_path / "environments").iterdir())
    assert len(built) == 2
    assert all("thing" in (folder / package_environment.BUILD_LOG).read_text() for folder in built)


def test_what_cannot_be_installed_is_named_and_nothing_is_left(
    make_folder: Callable[[str, str], ModelSpec], tmp_path: Path
) -> None:
    file = environments.requirements_file(make_folder("odd", "3.0"))
    assert file is not None
    with pytest.raises(ModelUnavailable, match=r"its requirements\.txt cannot be installed: .*thing==3\.0"):
        environments.build(file, tmp_path / "environments" / "odd")
    assert list((tmp_path / "environments").iterdir()) == []


def test_versions_with_the_same_requirements_share_an_environment(tmp_path: Path) -> None:
    names = []
    for name, text in (("a", "numpy==2\n"), ("b", "numpy==2\n"), ("c", "numpy==3\n"), ("d", "-r ./x.txt\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "requirements.txt").write_text(text)
        names.append(package_environment.environment_name(tmp_path / name / "requirements.txt"))
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_only_folders_of_code_have_requirements(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    assert environments.requirements_file(ModelSpec("v", "a/b", "python", path=str(tmp_path))) is not None
    assert environments.requirements_file(ModelSpec("v", "a/b", "embedding", path=str(tmp_path))) is None


def test_an_environment_of_its_own_has_nothing_else_and_is_made_once(tmp_path: Path) -> None:
    wheel(tmp_path, "1.0")
    requirements = ("--no-index", f"--find-links {tmp_path}", "thing==1.0")
    programs = package_environment.make_venv(requirements, tmp_path / "environments")
    said = subprocess.check_output([programs / "python", "-c", "import thing; print(thing.VERSION)"])
    assert said == b"1.0\n"
    isolated = subprocess.run(
        [programs / "python", "-I", "-c", "import orjson"], capture_output=True, check=False
    )
    assert b"No module named 'orjson'" in isolated.stderr
    (tmp_path / "thing-1.0-py3-none-any.whl").unlink()
    assert package_environment.make_venv(requirements, tmp_path / "environments") == programs
    with pytest.raises(package_environment.InstallFailed, match=r"cannot be installed: .*thing"):
        package_environment.make_venv((*requirements, "#"), tmp_path / "environments")
    assert [path.name for path in (tmp_path / "environments").iterdir()] == [programs.parent.name]
