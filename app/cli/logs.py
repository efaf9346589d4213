"""`lovage logs`: the log files that `lovage up` writes, the latest lines of all programs or of some."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Annotated

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, stop
from app.settings import load_client

PANEL = "The platform on this machine"
LOOK_SECONDS = 0.3
TAIL_BYTES = 1_000_000  # of a file are looked through for its latest lines


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(rich_help_panel=PANEL)(logs)


def logs(
    names: Annotated[
        list[str] | None, typer.Argument(help="Programs whose names begin so: api, worker … All by default.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("-n", min=0, help="How many of each program.")] = 20,
    text: Annotated[
        str, typer.Option("--text", help="Only lines with this, such as a prediction's or a request's id.")
    ] = "",
    switch_debug: Annotated[
        bool, typer.Option("--switch-debug", help="Have all programs write debug lines, too, or stop that.")
    ] = False,
    data: Annotated[Path | None, typer.Option("--data", help="LOVAGE_DATA_DIR.")] = None,
) -> None:
    """Show what the programs of `lovage up` have written. Elsewhere, logs are on standard error, and SIGUSR2
    switches debug lines on and off."""
    home = (data or load_client().lovage_data_dir).absolute()
    if switch_debug:
        _switch_debug(home)
    folder = home / "logs"
    files = _files(folder, names or [])
    if not files:
        there = ", ".join(path.stem for path in _files(folder, [])) or "none; `lovage up` writes them"
        stop(f"{folder}: no log is called so; there are: {there}", EXIT_USAGE)
    width = max(len(path.stem) for path in files)
    for path in files:
        _print(path, _latest(path, lines, text), width)
    if follow:
        _follow(files, text, width)


def _switch_debug(home: Path) -> None:
    from app.local.platform_state import read_platform

    platform = read_platform(home)
    if platform is None:
        stop(f"no platform runs on {home}", EXIT_USAGE)
    os.kill(platform.pid, signal.SIGUSR2)
    print("switched; each program says its level now: lovage logs --text log_level")
    raise SystemExit(0)


def _files(folder: Path, names: Sequence[str]) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob("*.log"))
        if not names or any(path.stem.startswith(name) for name in names)
    ]


def _latest(path: Path, lines: int, text: str) -> list[str]:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        matching = [line for line in file.read().decode(errors="replace").splitlines() if text in line]
    return matching[-lines:] if lines else []


def _follow(files: Sequence[Path], text: str, width: int) -> None:
    opened = {path: path.open("rb") for path in files}
    for file in opened.values():
        file.seek(0, 2)
    while True:
        for path, file in opened.items():
            _print(path, [line for line in _new_lines(path, file) if text in line], width)
        time.sleep(LOOK_SECONDS)


def _new_lines(path: Path, file: IO[bytes]) -> list[str]:
    """Whole lines only; a file that was cut is read from its start."""
    if path.stat().st_size < file.tell():
        file.seek(0)
    start, data = file.tell(), file.read()
    whole = data.rfind(b"\n") + 1
    file.seek(start + whole)
    return data[:whole].decode(errors="replace").splitlines()


def _print(path: Path, lines: Iterable[str], width: int) -> None:
    for line in lines:
        print(f"{path.stem:{width}} | {screen.on_terminal(line)}")
    sys.stdout.flush()
