"""`make bench`: every measurement of this folder, one after the other, each on a platform of its own.

ARGS: names to run only those, `--write` to put the tables into docs/benchmarks.md. Each is `python -m
scripts.bench.NAME`, too, with options of its own. Some minutes each; the machine should have nothing else to
do.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.bench.stage import LINES_FILE, Line
from scripts.own_platform import terminable

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BENCHES = {
    "path": "what a prediction costs when its model does nothing",
    "texts": "single texts, as a share of the model alone",
    "engines": "single texts by what runs the encoder",
    "pairs": "pair scoring, padding and rate",
    "generation": "text generation, streamed to 32 readers",
    "grammars": "answers by a JSON Schema: what they cost neighbours, whether they are valid",
    "cold_model": "a second model, cold; eviction",
    "streams": "first token, many readers",
    "million": "a million waiting predictions",
    "shares": "one prediction behind ten thousand of another user, 20 users with log-normal costs",
    "siblings": "a worker that is added beside 60 predictions of 5 s",
    "memory": "the API's memory under large schemas, choices and lists",
    "threads": "threads, processes and wait policies",
    "web_app": "the web app by the browser's own trace: first view, long lists and streams, idle pages",
    "direct": "calling a worker itself by gRPC",
    "gateway": "500 in flight at a backend that takes 2 s",
}


def run(name: str) -> tuple[list[Line], int]:
    """The rows, none when it broke (it has said why), and its exit status: not 0, too, when a row is
    missed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.json"
        status = status_of([sys.executable, "-m", f"scripts.bench.{name}"], {LINES_FILE: str(file)})
        lines = json.loads(file.read_text("utf-8")) if file.is_file() else []
        return [Line(**values) for values in lines], status or int(not lines)


def status_of(command: list[str], env: dict[str, str]) -> int:
    """The exit status of a bench. When this program is stopped, the bench is too, and has the time to end its
    platform."""
    with terminable(), subprocess.Popen(command, env={**os.environ, **env}) as child:
        try:
            return child.wait()
        except (KeyboardInterrupt, SystemExit) as interruption:
            if isinstance(interruption, SystemExit):  # Ctrl-C has reached it by itself
                child.terminate()
            child.wait()
            raise


def table(lines: list[Line]) -> str:
    """A Markdown table."""
    rows = "\n".join(f"| {line.what} | {line.value} | {line.wanted} | {line.limit} |" for line in lines)
    return f"| what | measured | wanted | limit in the same run |\n|---|---|---|---|\n{rows}\n"


def written(page: str, name: str, lines: list[Line]) -> str:
    """The page with the bench's table between its two marks replaced. Raises ValueError when the page lacks
    them."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    new = f"{begin}{time.strftime('%d %B %Y')}, {machine}:\n\n{table(lines)}{end}"
    changed, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: new, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name} has no marks for {name}: {begin.strip()} … {end}")
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="; ".join(f"{name}: {what}" for name, what in BENCHES.items()),
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHES):
        parser.error(f"there is no bench {sorted(unknown)[0]}; there are {', '.join(BENCHES)}")
    failed = []
    for name in arguments.names or BENCHES:
        print(f"\n{name}: {BENCHES[name]}", flush=True)
        lines, status = run(name)
        if status:
            failed.append(name)
        if lines and arguments.write:
            PAGE.write_text(written(PAGE.read_text("utf-8"), name, lines), "utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
