"""The folder for the files of what runs in this process, and what killed workers have left of theirs."""

import os
import shutil
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

GATHER_SECONDS = 0.25
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


class RunFolders:
    """The folders for the files of runs, below one that is this process's. Names of those whose runs have
    `ended` are put there by any thread; they are removed a moment later, many at once: nearly none of them is
    there, and a look for each alone let the interpreter go amid each end."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.ended: deque[str] = deque()
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="remove-folders", daemon=True).start()

    def close(self) -> None:
        """Removes all of them."""
        self._closed.set()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _run(self) -> None:
        while not self._closed.wait(GATHER_SECONDS):
            ended = [self.ended.popleft() for _ in range(len(self.ended))]
            with suppress(OSError):  # closed meanwhile
                for name in set(os.listdir(self.scratch)).intersection(ended) if ended else ():
                    shutil.rmtree(self.scratch / name, ignore_errors=True)
