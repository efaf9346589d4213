"""`make peers`: the tests of peers, and two platforms on this machine that run each other's models.

The packages of the extra `p2p` are in an environment of their own, `.venv/peers`, made at the first time from
a package registry: beside those of the extra `grpc` they cannot be.
"""

import os
import subprocess
import sys
from pathlib import Path

from scripts.peers.two_platforms import run_both

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements" / "p2p.txt"
ENVIRONMENT = Path(sys.prefix).resolve() / "peers"
PYTHON_VARIABLE = "LOVAGE_P2P_PYTHON"


def make_environment() -> Path:
    """Its Python; installed anew when the requirements have changed."""
    python, mark = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".requires"
    needed = REQUIREMENTS.read_text("utf-8")
    if not (mark.is_file() and mark.read_text("utf-8") == needed):
        uv = Path(sys.prefix) / "bin" / "uv"
        subprocess.run(
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, ENVIRONMENT], check=True
        )
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "-r", REQUIREMENTS], check=True)
        mark.write_text(needed, "utf-8")
    return python


def main() -> int:
    python = os.environ.get(PYTHON_VARIABLE) or str(make_environment())
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/peers", *sys.argv[1:]]
    code = subprocess.run(
        tests, env={**os.environ, PYTHON_VARIABLE: python}, cwd=ROOT, check=False
    ).returncode
    return code or run_both(python)


if __name__ == "__main__":
    sys.exit(main())
