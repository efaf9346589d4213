"""Runs one program with all that it starts, and ends all of it when standard input ends: whoever started this
has died then, or wants it ended. What the program says goes to a log file of bounded size. A script on the
standard library alone, so that it costs little beside what it keeps.

    python keeper.py LOG GRACE_SECONDS COMMAND...
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOG_BYTES = 10_000_000  # then it becomes LOG.1
BLOCK = 65_536
REST_SECONDS = 0.2


class Log:
    """What the program says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk ends no server
            self._file.write(data)
            if self._file.tell() > LOG_BYTES:
                self._file.close()
                self._path.replace(f"{self._path}.1")
                self._file = self._path.open("ab", buffering=0)


class Keeper:
    """One program."""

    def __init__(self, log: Log, grace: float, command: list[str]) -> None:
        self._log, self._grace = log, grace
        self._is_asked = False
        self._selector = selectors.DefaultSelector()
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_keeper(os.getpid()),  # noqa: PLW1509 - there is one thread
        )
        assert self.server.stdout
        self._output = self.server.stdout.fileno()
        self._selector.register(self._output, selectors.EVENT_READ, self._copy)
        self._selector.register(0, selectors.EVENT_READ, self._listen)
        self._selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, BLOCK))

    def _on_signal(self, *_: object) -> None:
        self._is_asked = True

    def _listen(self) -> None:
        if not os.read(0, BLOCK):
            self._is_asked = True
            self._selector.unregister(0)

    def _copy(self) -> None:
        data = os.read(self._output, BLOCK)
        if not data:
            self._selector.unregister(self._output)
        self._log.write(data)

    def _turn(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    def _copy_rest(self) -> None:
        until = time.monotonic() + REST_SECONDS
        while (left := until - time.monotonic()) > 0 and self._output in self._selector.get_map():
            self._turn(left)

    def run(self) -> int:
        """Until the program has ended or is not wanted any more; nothing of it is left then."""
        while self.server.poll() is None and not self._is_asked:
            self._turn(None)
        self._copy_rest()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGTERM)
        until = time.monotonic() + self._grace
        while self.server.poll() is None and (left := until - time.monotonic()) > 0:
            self._turn(left)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        code = self.server.wait()
        kill_orphans()
        return code if code >= 0 else 128 - code


def die_with_keeper(keeper: int) -> Callable[[], None]:
    def prepare() -> None:
        set_process_flag(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)

    return prepare


def set_process_flag(flag: int, value: int) -> None:
    """Linux's prctl; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(flag, value, 0, 0, 0)


def kill_orphans() -> None:
    """Whatever has left the program's group: it became this process's child when its parent ended."""
    while children := list_children():
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def list_children() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def main() -> int:
    """Ends as the program does."""
    log = Log(Path(sys.argv[1]))
    set_process_flag(PR_SET_CHILD_SUBREAPER, 1)
    try:
        keeper = Keeper(log, float(sys.argv[2]), sys.argv[3:])
    except OSError as error:
        log.write(f"cannot be started: {error.strerror}\n".encode())
        return 127
    return keeper.run()


if __name__ == "__main__":
    sys.exit(main())
