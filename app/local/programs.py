"""A program to run, and one running child: started so that it cannot outlive its launcher, stopped by
signals.

Knows processes, groups and signals. Does not know what the programs are, when to restart them or where output
is shown.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.local.errors import CannotSpawn, StillBusy
from app.local.locks import POLL_S, FileLock, no_tick
from app.local.unprivileged import Become

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = getattr(_libc, "prctl", None)  # Linux only; elsewhere a killed launcher leaves its children


def always_ready(pid: int) -> bool:
    """The ready check of a program that has none: running is ready."""
    return True


@dataclass(frozen=True)
class Program:
    """What to start and how to end it.

    `ready(pid)` is polled until true. `lock` is a file whose lock the program and everything it forks holds.
    `before_start` runs before every start, with the lock held. `stage`: stage 0 is stopped first, then 1, and
    so on. `quiet`: its output goes to the log file only. `once`: it is expected to end.
    `switches_level`: a SIGUSR2 has it write debug lines, the next one not.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[int], bool] = always_ready
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    stage: int = 0
    quiet: bool = False
    once: bool = False
    death_signal: signal.Signals = signal.SIGKILL
    cwd: Path | None = None
    lock: Path | None = None
    before_start: Callable[[], None] | None = None
    become: Become | None = None
    switches_level: bool = False


class Child:
    """One start of a program. `process.stdout` is a pipe unless an `output` file was given."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.process = process
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        """Whether the first process runs. Once it has ended, what it left of its group is killed."""
        if self.process.returncode is not None:
            return False
        if hasattr(os, "waitid"):  # not on every macOS Python
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return True
                # before the zombie is reaped: until then nobody else can get this group's number
                self._kill_group()
        return self.process.poll() is None

    def is_ready(self) -> bool:
        return self.is_alive() and self.program.ready(self.pid)

    def ask_to_stop(self) -> None:
        """The program's own stop signal, to its first process only: a group-wide one would cut its drain
        short."""
        self._signal(self.program.stop_signal)

    def switch_log_level(self) -> None:
        """Debug lines or not, of a program that knows that signal."""
        if self.program.switches_level:
            self._signal(signal.SIGUSR2)

    def kill(self) -> None:
        """End the whole group now, with whatever the program had forked and left in it."""
        if self.is_alive():
            self._kill_group()

    def wait(self, timeout_s: float, tick: Callable[[], None] = no_tick) -> bool:
        """Whether it ended within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            tick()
            time.sleep(POLL_S)
        return True

    def stop(self) -> None:
        """Ask, wait for the program's grace, kill."""
        self.ask_to_stop()
        if not self.wait(self.program.grace_s):
            self.kill()
            self.process.wait()

    def describe_end(self) -> str:
        """`"exit code 3"` or `"signal SIGKILL"`."""
        code = self.process.poll()
        if code is None:
            return "running"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            self.process.send_signal(number)


def spawn(program: Program, output: IO[bytes] | int = subprocess.PIPE, lock: FileLock | None = None) -> Child:
    """Start `program` in a session of its own. It gets `death_signal` from the kernel when we die, however we
    die.

    `lock` is the program's lock if the caller holds it already (and goes on holding it); else it is taken
    here, and StillBusy is raised if the program's last processes are not gone yet. CannotSpawn: no file,
    permission or memory.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "spawn from the main thread: the kernel ends a child when the *thread* that forked it ends"
        )
    with contextlib.ExitStack() as ours:
        try:
            if lock is None and program.lock is not None:
                lock = FileLock.try_acquire(program.lock)
                if lock is None:
                    raise StillBusy(f"{program.name} has processes left")
                ours.callback(lock.close)
            if program.before_start is not None:
                program.before_start()
            return Child(program, _popen(program, output, lock))
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotSpawn(f"{program.name} cannot be started: {error}") from error


def _popen(program: Program, output: IO[bytes] | int, lock: FileLock | None) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        program.argv,
        env=dict(program.env),
        cwd=program.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if lock is None else (lock.fd,),
        preexec_fn=_before_exec(program, os.getpid()),  # noqa: PLW1509 - takes no lock of a thread
    )
    if lock is not None:
        lock.write_pid(process.pid)
    return process


def _before_exec(program: Program, launcher: int) -> Callable[[], None]:
    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # `nohup` and `&` leave some ignored, and that is inherited
        if program.switches_level:
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until it listens; by default it ends
        if program.become is not None:
            program.become()
        if _prctl is not None:  # after `become`: the kernel resets this when credentials change
            _prctl(PR_SET_PDEATHSIG, int(program.death_signal), 0, 0, 0)
            if os.getppid() != launcher:  # it died before this call, so the signal would never come
                os._exit(1)

    return prepare
