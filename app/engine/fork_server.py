"""The fork server: imports the model libraries once and forks model processes from itself, before any
accelerator is touched.

Started as `python -m app.engine.fork_server PARENT_PID CONTROL_FD PRELOAD,…`. Requests on the control socket
have a fixed size: `F` key with three file descriptors (model socket, log pipe's read and write end) forks;
`P` length, followed by names, preloads more; `K` pid kills, without the risk that the number belongs to
somebody else by now, because only this process reaps it. Answers are frames: ["forked", key, pid],
["refused", key, reason] and ["exit", pid, status]. Knows nothing of what a model process does.

It is one thread for ever: a fork of a process with threads copies locks that nobody will open again.
"""

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence

from app.engine import process_limits
from app.engine.frames import encode

REQUEST = struct.Struct("!cQ")
FORK = b"F"
KILL = b"K"
PRELOAD = b"P"
FDS_PER_FORK = 3


class ForkServer:
    """The serving side. `children` are the process ids that are not reaped yet."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: set[int] = set()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)

    def serve(self) -> None:
        """Until the control socket ends."""
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poll = (
            select.poll()
        )  # select() knows no descriptor beyond 1,023, and the control socket has its number from the worker
        for fd in (self._control.fileno(), self._wake_read):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._wake_read in ready:
                self._reap()
            if self._control.fileno() in ready and not self._request():
                return

    def _request(self) -> bool:
        """Handles one request; False at the end of the stream."""
        data, fds, _, _ = socket.recv_fds(self._control, REQUEST.size, FDS_PER_FORK)
        if len(data) < REQUEST.size:
            return False
        kind, number = REQUEST.unpack(data)
        if kind == FORK:
            self._fork(number, fds)
        elif kind == PRELOAD:
            preload(self._names(number))
            gc.freeze()
        elif number in self._children:
            os.kill(number, signal.SIGKILL)
        return True

    def _names(self, length: int) -> list[str]:
        """The rest of a `P` request."""
        data = b""
        while len(data) < length and (part := self._control.recv(length - len(data))):
            data += part
        return data.decode().split(",")

    def _fork(self, key: int, fds: Sequence[int]) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except (
            OSError
        ) as error:  # too many processes, or no memory for one more: the models that run must not die of it
            answer: list[object] = ["refused", key, str(error)]
        else:
            if pid == 0:
                self._become_model(server, fds)
            self._children.add(pid)
            answer = ["forked", key, pid]
        for fd in fds:
            os.close(fd)
        self._answer(answer)

    def _become_model(self, server: int, fds: Sequence[int]) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            process_limits.die_with_parent(server)
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            from app.engine import model_process

            status = model_process.main(*fds)
        finally:
            os._exit(status)

    def _reap(self) -> None:
        os.read(self._wake_read, 4096)
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._answer(["exit", pid, os.waitstatus_to_exitcode(status)])

    def _answer(self, message: list[object]) -> None:
        try:
            self._control.sendall(encode(message))
        except OSError:
            raise SystemExit(0) from None


def preload(names: Sequence[str]) -> None:
    """Imports `module` or, for libraries that import lazily, `module:attribute`. What is not installed is
    skipped."""
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            loaded = importlib.import_module(module)
            if attribute:
                getattr(loaded, attribute)
        except (ImportError, AttributeError, RuntimeError) as error:
            print(f"fork server: {name} is not preloaded: {error}", file=sys.stderr)


def main(arguments: Sequence[str]) -> None:
    """The process. Ends when the control socket does, or is killed with its parent."""
    parent, control_fd = int(arguments[0]), int(arguments[1])
    names = arguments[2]
    process_limits.die_with_parent(parent)
    process_limits.no_core()
    process_limits.leave_signals_to_parents()
    control = socket.socket(fileno=control_fd)
    preload(["app.engine.model_process", *filter(None, names.split(","))])
    gc.collect()
    # pages of the preloaded libraries stay shared: a collection in a child would write to all of them
    gc.freeze()
    ForkServer(control).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
