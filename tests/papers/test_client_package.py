"""`pip install lovage` brings the client and the commands that talk to a platform, nothing of the server."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = """
import sys
absent = frozenset(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["lovage", *sys.argv[2:]]
from app.cli import main
main()
"""
SERVERS = (
    ("up",),
    ("api",),
    ("worker",),
    ("migrate",),
    ("backup", "somewhere"),
    ("models", "check", "."),
)


def pins(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text("utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def names(lines: set[str]) -> set[str]:
    """Of the packages, as distributions are called."""
    return {re.split(r"[\[=<>; ]", line)[0].lower().replace("_", "-") for line in lines}


def server_modules() -> str:
    """What only the server's packages bring, as one imports it."""
    wanted = names(pins("api.txt") - pins("client.txt"))
    return ",".join(
        module
        for module, packages in packages_distributions().items()
        if {package.lower().replace("_", "-") for package in packages} <= wanted
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOVAGE")}
    env |= {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x", "REDIS_URL": "redis://127.0.0.1:9/0"}
    env |= {"PYTHONPATH": str(ROOT), "LOVAGE_DATA_DIR": str(folder), "LOVAGE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", RUN, server_modules(), *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_clients_packages_are_the_servers_too() -> None:
    assert pins("client.txt") <= pins("api.txt")
    assert {"fastapi", "celery", "sqlalchemy"} <= set(server_modules().split(","))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--help",), 0, "worker"),
        (("bench", "--help"), 0, "bench"),
        (("run", "demo/echo"), 3, "does not answer"),
    ],
)
def test_clients_commands_need_no_more(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("arguments", SERVERS, ids=" ".join)
def test_a_command_of_the_server_says_what_to_install(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1, done.stderr
    assert "pip install 'lovage[server]'" in done.stderr
    assert "Traceback" not in done.stderr
