"""Log files of programs: appended to, cut when large, quoted from when something fails.

Knows files and sizes; does not know what is in the lines.
"""

from __future__ import annotations

import shutil
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024  # two files of it a program: a week of a quiet platform, and nobody's disk
TAIL_BYTES = 8 * 1024


def log_path(data_dir: Path, name: str) -> Path:
    """Where the log of program `name` is; its folder exists afterwards. `cpu:0` and the like become file
    names."""
    folder = data_dir / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) + ".log"
    )


def cut_if_large(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Copy the log to `<name>.log.1` and empty it. Its writers append, so those with it open go on at the
    start."""
    try:
        if path.stat().st_size <= max_bytes:
            return
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        with path.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for the sentence that says what failed."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
