"""The folder for the files of what runs in this process, and what killed workers have left of theirs."""

import os
import shutil
import tempfile
from pathlib import Path

SCRATCH = "lovage-worker-"  # then the worker's process id


def make_scratch() -> Path:
    """A fresh folder."""
    return Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))


def remove_scratch_of_the_dead() -> None:
    """Removes the folders of workers of this machine that were killed: nobody else will."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        pid = folder.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
