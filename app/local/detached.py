"""Running the launcher in the background, and stopping a running one.

The background process is its own session, so a closed terminal does not reach it; it reports through a pipe
to the command that started it. Knows processes and the launcher's lock; does not know what is being launched.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.local.errors import LocalError, NotRunning, StillBusy
from app.local.locks import FileLock, launcher_lock_path, read_pid
from app.local.log_file import cut_if_due, log_path, tail
from app.local.platform_state import Platform, forget_platform, read_platform
from app.local.terminal import Terminal

Send = Callable[[Mapping[str, Any]], None]

STOP_TIMEOUT_S = 120.0  # the longest graces one after another: worker, Valkey, Postgres, and some air
INTERRUPTED = 130


def launch_in_background(
    data_dir: Path,
    launch: Callable[[Send], int],
    terminal: Terminal,
    print_screen: Callable[[Platform, Mapping[str, Any]], None],
) -> int:
    """Call `launch(send)` in a background process and return once that has sent that it is ready (0) or
    failed (1)."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = log_path(data_dir, "up")
    cut_if_due(log)
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if first == 0:
        os.close(read_end)
        _in_background(log, write_end, launch)
    os.close(write_end)
    os.waitpid(first, 0)
    with os.fdopen(read_end, "r") as messages:
        try:
            return _follow(messages, data_dir, terminal, print_screen, log)
        except KeyboardInterrupt:
            stop(data_dir)
            return INTERRUPTED


def _in_background(log: Path, write_end: int, launch: Callable[[Send], int]) -> None:
    """Never returns. Fork twice: a process that leads no session can never get a terminal again."""
    code = 1
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _redirect_to(log)

        def send(message: Mapping[str, Any]) -> None:
            try:
                os.write(write_end, json.dumps(message).encode() + b"\n")
            except OSError:  # nobody waits any more
                return

        code = launch(send)
    except BaseException:  # noqa: BLE001 - a detached process has no caller to raise to: it goes to the log
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _redirect_to(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(nothing)
    os.close(output)


def _follow(
    messages: Any,
    data_dir: Path,
    terminal: Terminal,
    print_screen: Callable[[Platform, Mapping[str, Any]], None],
    log: Path,
) -> int:
    for line in messages:
        message = json.loads(line)
        if "progress" in message:
            terminal.say(message["progress"])
        elif "report" in message:
            platform = read_platform(data_dir)
            if platform is not None:
                print_screen(platform, message["report"])
                return 1 if "failed" in message["report"] else 0
        else:
            terminal.warn(message["error"])
            return 1
    terminal.warn(f"Lovage ended before it was ready:\n{tail(log)}")
    return 1


def stop(data_dir: Path, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Ask the launcher of `data_dir` to stop and wait for its end. Returns its pid.

    Raises NotRunning, or LocalError if it may not be signalled or does not end. The lock says that a launcher
    lives; the pid is the one that this very launcher wrote into the lock's file.
    """
    data_dir = data_dir.absolute()
    path = launcher_lock_path(data_dir)
    lock = FileLock.try_acquire(path) if path.exists() else None
    if lock is not None or not path.exists():
        _forget_dead(data_dir, lock)
        raise NotRunning(str(data_dir))
    pid = read_pid(path)
    if pid is None:
        raise LocalError(f"Lovage is just starting on {data_dir}: try again in a moment.")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise LocalError(
            f"Lovage on {data_dir} (pid {pid}) belongs to another user: stop it as that user."
        ) from error
    except ProcessLookupError:
        pass  # it ended in between
    _wait_for_end(path, pid, timeout_s)
    return pid


def _forget_dead(data_dir: Path, lock: FileLock | None) -> None:
    if lock is not None:
        forget_platform(data_dir)
        lock.close()


def _wait_for_end(path: Path, pid: int, timeout_s: float) -> None:
    try:
        FileLock.acquire(path, timeout_s).close()
    except StillBusy as error:
        raise LocalError(
            f"Lovage (pid {pid}) has not stopped after {timeout_s:.0f} s; `lovage down` again kills."
        ) from error


def down(data_dir: Path, say: Callable[[str], None] = print) -> int:
    """`lovage down`: stop what runs on `data_dir` and say so. 0: it is stopped now, also if it was not
    running."""
    started = time.monotonic()
    try:
        pid = stop(data_dir)
    except NotRunning as error:
        say(str(error))
        return 0
    except LocalError as error:
        say(str(error))
        return 1
    say(f"Stopped Lovage (pid {pid}) in {time.monotonic() - started:.1f} s.")
    return 0
