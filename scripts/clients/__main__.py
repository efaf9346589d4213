"""`make clients`: client libraries and frameworks, pinned, each in an environment of its own, against a
platform that is started for them.

ARGS: names to run only those. The environments stay in `.venv/clients` for the next time; the first time
needs a package registry and some minutes.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.local.platform_state import Platform
from scripts.clients import models
from scripts.own_platform import judged

SUITES = Path(__file__).parent / "suites"
ENVIRONMENTS = Path(sys.prefix) / "clients"
SECONDS = 300  # for one suite; a cold model is loaded by the first


@dataclass(frozen=True)
class Suite:
    """One library's file, and what it says of itself."""

    name: str
    requires: tuple[str, ...]
    calls: tuple[str, ...]

    @property
    def file(self) -> Path:
        return SUITES / f"{self.name}.py"


def read_suite(file: Path) -> Suite:
    """Without running it: its packages are not here. Raises KeyError when it does not say what it needs."""
    said = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("REQUIRES", "CALLS")
    }
    return Suite(file.stem, tuple(said["REQUIRES"]), tuple(said["CALLS"]))


def all_suites() -> list[Suite]:
    """In the sequence of their names."""
    return [read_suite(file) for file in sorted(SUITES.glob("[a-z]*.py"))]


def environment(suite: Suite) -> Path:
    """Its Python, installed when its packages have changed."""
    folder = ENVIRONMENTS / suite.name
    mark, needed = folder / ".requires", "\n".join(suite.requires)
    python = folder / "bin" / "python"
    if not (mark.is_file() and mark.read_text("utf-8") == needed):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *suite.requires], check=True)
        mark.write_text(needed, "utf-8")
    return python


def run(suite: Suite, platform: Platform, names: dict[str, str]) -> bool:
    """Whether it went well; what it says is shown."""
    print(f"\n{suite.name}: {', '.join(suite.requires)}", flush=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {
        **kept,
        **names,
        "LOVAGE_URL": platform.api_url,
        "LOVAGE_KEY": Path(platform.key_file).read_text("utf-8").strip(),
        "NO_PROXY": "127.0.0.1",
    }
    try:
        command = [environment(suite), suite.file]
        return subprocess.run(command, env=env, timeout=SECONDS, check=False).returncode == 0
    except (subprocess.SubprocessError, OSError) as error:
        print(f"{suite.name}: {error}")
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    suites = {suite.name: suite for suite in all_suites()}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(suites))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(suites):
        parser.error(f"there is no suite {sorted(unknown)[0]}; there are {', '.join(suites)}")
    chosen = [suites[name] for name in arguments.names or suites]

    def is_served(platform: Platform) -> bool:
        names = models.register(platform, root)
        results = {suite.name: run(suite, platform, names) for suite in chosen}
        for name, is_good in results.items():
            print(f"{'ok    ' if is_good else 'FAILED'} {name}")
        return all(results.values())

    with tempfile.TemporaryDirectory(prefix="lovage-clients-") as folder:
        root = Path(folder)
        models.make_all(root)
        return judged("lovage-clients-platform-", is_served, MODEL_ROOTS=str(root))


if __name__ == "__main__":
    sys.exit(main())
