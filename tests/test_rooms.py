"""Every contract of the rooms is shown to fail on a planted violation, and to hold without one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLANTED = {
    "rooms": ("app/domain/planted.py", "import app.services.predictions.submit"),
    "no-models-in-the-api": ("app/services/planted.py", "import torch"),
    "no-platform-in-the-engine": ("app/engine/planted.py", "import sqlalchemy"),
    "no-platform-in-the-backends": ("app/backends/planted.py", "import sqlalchemy"),
    "the-bench-is-a-client": ("app/bench/planted.py", "import app.services.predictions.submit"),
    "plain-domain": ("app/domain/planted.py", "import orjson"),
    "edges-hold-no-decisions": ("app/api/rest/planted.py", "import sqlalchemy"),
    "rows-stay-below": ("app/api/rest/planted.py", "import app.db.users"),
    "tables-stay-in-the-database-room": ("app/services/people/planted.py", "import app.db.tables"),
    "edges-dont-know-each-other": ("app/api/openai/planted.py", "import app.api.rest.wire"),
    "no-cycles-among-siblings": ("app/services/people/planted.py", "import app.services.predictions.submit"),
    "only-roots-read-settings": ("app/services/planted.py", "import app.settings"),
    "celery-behind-one-fence": ("app/worker/planted.py", "import kombu"),
    "outgoing-calls-in-one-room": ("app/worker/planted.py", "import httpx"),
    "sockets-where-they-are-listed": ("app/services/planted.py", "import socket"),
}
# What the linter names, where that is not the planted module.
NAMED = {"no-cycles-among-siblings": ".people -> .predictions"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return Path(folder)


def lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        *(f"--contract={one}" for one in contracts),
    ]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_all_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert f"{len(PLANTED)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("contract", PLANTED)
def test_a_planted_violation_breaks_its_contract(copy: Path, contract: str) -> None:
    name, line = PLANTED[contract]
    planted = copy / name
    planted.write_text(f'"""Planted."""\n\n{line}\n')
    try:
        done = lint(copy, contract)
    finally:
        planted.unlink()
    assert done.returncode == 1, done.stdout
    assert NAMED.get(contract, "planted") in done.stdout


def test_a_new_room_needs_a_place(copy: Path) -> None:
    room = copy / "app" / "attic"
    room.mkdir()
    (room / "__init__.py").write_text('"""Planted."""\n')
    try:
        done = lint(copy, "rooms")
    finally:
        shutil.rmtree(room)
    assert done.returncode == 1
    assert "attic" in done.stdout
