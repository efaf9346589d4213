"""The folder for the files of what runs in this process, and what killed workers have left of theirs."""

import os
import shutil
import tempfile
import threading
import time
from collections import deque
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
    """The folders for the files of runs, below one that is this process's. They are removed a moment after
    the end, many at once: nearly none of them is there, and to look for each costs its end more than all the
    rest here. Thread-safe; its thread ends with the process."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._ended: deque[str] = deque()  # names in `scratch`
        self._some = threading.Event()
        threading.Thread(target=self._run, name="remove-folders", daemon=True).start()

    def path_of(self, prediction_id: str, attempt: int) -> Path:
        """Of one attempt; not created here."""
        return self._scratch / f"{prediction_id}-{attempt}"

    def remove(self, folder: Path) -> None:
        """Of a run that has ended; it need not be there."""
        self._ended.append(folder.name)
        self._some.set()

    def close(self) -> None:
        """Removes all of them."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(GATHER_SECONDS)
            self._some.clear()
            ended = [self._ended.popleft() for _ in range(len(self._ended))]
            try:
                there = set(os.listdir(self._scratch))
            except OSError:  # closed
                return
            for name in there.intersection(ended):
                shutil.rmtree(self._scratch / name, ignore_errors=True)
