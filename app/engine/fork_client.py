"""The engine's side of the fork server: starts it, restarts it when it dies, forks and kills through it.

Knows processes and their exit statuses, nothing of models.
"""

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from app.engine.fork_server import FORK, KILL, PRELOAD, REQUEST
from app.engine.frames import FrameReader

log = logging.getLogger(__name__)

# A server that dies at once (broken installation) is started again at this pace, not in a busy loop.
RESTART_SECONDS = 0.5
STOP_SECONDS = 2.0
# Nothing else of the worker's environment reaches a model process: it holds database passwords and signing
# keys.
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV", "XDG_CACHE_HOME", "USER", "HF_HOME")
ENVIRONMENT_PREFIXES = (
    *("LC_", "LD_", "PYTHON", "COV", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_"),
    *("CUDA", "NVIDIA", "NCCL", "ROC", "HIP", "HSA", "TORCH", "PYTORCH", "TRITON"),
)


class ForkServerDied(RuntimeError):
    """The server went away before it answered; its children died with it. Try again: it is being
    restarted."""


@dataclass(slots=True)
class Forked:
    """A model process. `exit` becomes its exit status (negative: the signal), or None when the server died
    first."""

    pid: int
    exit: "Future[int | None]" = field(default_factory=Future)


def environment(threads: int, first_path: str = "") -> dict[str, str]:
    """What model processes see of this process's environment, with thread counts and waiting policy set on
    purpose. `first_path`: a folder of packages that are found before all others.

    OpenMP threads that wait actively keep the other processes from their core: two torch threads on two busy
    cores were measured 5 times slower than one. Threads that sleep at once have to be woken for each of the
    hundred pieces of a forward pass: a text alone took MiniLM 17 ms, and 11 with threads that look for half a
    millisecond first. Both can only be set before the libraries are imported, so it is done here, once for
    all.
    """
    kept = {
        name: os.environ[name]
        for name in os.environ
        if name in ENVIRONMENT or name.startswith(ENVIRONMENT_PREFIXES)
    }
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "50000",  # GNU's OpenMP, which torch brings along; the policy alone would mean 0
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        **kept,
        "PYTHONPATH": os.pathsep.join(
            [first_path] * bool(first_path) + [entry or os.getcwd() for entry in sys.path]
        ),
        # the Rust pool does not survive a fork, and would fight the batch for cores
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # files are fetched by the worker, never inside a model process
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",  # advice for notebooks has no place in a service's log
    }


class ForkServerClient:
    """Thread-safe. `start` once, `stop` once. `first_path` as in `environment`."""

    def __init__(self, preload: Sequence[str], threads: int, first_path: str = "") -> None:
        self._preload, self._threads = tuple(preload), threads
        self._first_path = first_path
        self._lock = threading.Lock()
        self._keys = itertools.count(1)
        self._forking: dict[int, Future[Forked]] = {}
        self._running: dict[int, Forked] = {}
        self._control: socket.socket | None = None
        self._stopping = threading.Event()
        self._up = threading.Condition(self._lock)
        self._keeper = threading.Thread(target=self._keep_running, name="fork-server", daemon=True)
        self.pid = 0
        self.restarts = 0

    def start(self) -> None:
        """Returns at once; the server imports its libraries meanwhile and answers requests afterwards."""
        self._keeper.start()

    def fork(self, fds: Sequence[int], timeout: float) -> Forked:
        """A new model process with these descriptors (the caller closes its own copies).

        Raises ForkServerDied, OSError when the system gives no process, or TimeoutError when the server did
        not answer (importing its libraries is part of the wait).
        """
        future: Future[Forked] = Future()
        with self._up:
            if not self._up.wait_for(lambda: self._control is not None or self._stopping.is_set(), timeout):
                raise TimeoutError("the fork server did not start")
            if self._control is None:
                raise ForkServerDied("the engine is stopping")
            key = next(self._keys)
            self._forking[key] = future
            try:
                socket.send_fds(self._control, [REQUEST.pack(FORK, key)], list(fds))
            except OSError as error:
                del self._forking[key]
                raise ForkServerDied(f"the fork server is gone: {error}") from error
        return future.result(timeout)

    def preload(self, names: Sequence[str]) -> None:
        """More for the server to import, now and after a restart."""
        with self._lock, contextlib.suppress(OSError):
            fresh = [name for name in names if name not in self._preload]
            if fresh and self._control is not None:
                self._preload += tuple(fresh)
                data = ",".join(fresh).encode()
                self._control.sendall(REQUEST.pack(PRELOAD, len(data)) + data)

    @property
    def is_idle(self) -> bool:
        """Whether it has no process and makes none."""
        with self._lock:
            return not (self._forking or self._running)

    def kill(self, pid: int) -> None:
        """SIGKILL, if it is still one of ours. Its exit comes as for any other death."""
        with self._lock, contextlib.suppress(OSError):
            if self._control is not None and pid in self._running:
                self._control.sendall(REQUEST.pack(KILL, pid))

    def stop(self) -> None:
        """Ends the server and, with it, every model process."""
        with self._up:
            self._stopping.set()
            self._up.notify_all()
            if self._control is not None:
                self._control.shutdown(socket.SHUT_RDWR)
        if self._keeper.is_alive():
            self._keeper.join(STOP_SECONDS * 2)

    def _keep_running(self) -> None:
        """Starts the server again whenever it dies. A thread of its own, because the server dies with the
        thread that started it."""
        while not self._stopping.is_set():
            began = time.monotonic()
            self._run_server()
            if not self._stopping.is_set():
                self.restarts += 1
                log.error("the fork server died; starting another")
                self._stopping.wait(max(0.0, RESTART_SECONDS - (time.monotonic() - began)))

    def _run_server(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            process = self._spawn(theirs)
            with self._up:
                self._control, self.pid = ours, process.pid
                self._up.notify_all()
                if self._stopping.is_set():
                    ours.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                self._listen(ours)
            self._fail_all()
        self._reap(process)

    def _spawn(self, theirs: socket.socket) -> "subprocess.Popen[bytes]":
        with theirs:
            names = ",".join(self._preload)
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "app.engine.fork_server",
                    str(os.getpid()),
                    str(theirs.fileno()),
                    names,
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment(self._threads, self._first_path),
            )

    def _listen(self, control: socket.socket) -> None:
        reader = FrameReader(control)
        while messages := reader.read():
            for message in messages:
                self._on_answer(message)

    def _on_answer(self, message: list[object]) -> None:
        kind, first, second = message
        with self._lock:
            if kind == "forked":
                future = self._forking.pop(int(str(first)))
                forked = self._running[int(str(second))] = Forked(int(str(second)))
                future.set_result(forked)
            elif kind == "refused":
                self._forking.pop(int(str(first))).set_exception(
                    OSError(f"the system gives no process for it: {second}")
                )
            elif forked_exit := self._running.pop(int(str(first)), None):
                forked_exit.exit.set_result(int(str(second)))

    def _fail_all(self) -> None:
        with self._lock:
            self._control = None
            forking, self._forking = self._forking, {}
            running, self._running = self._running, {}
        for future in forking.values():
            future.set_exception(ForkServerDied("the fork server died"))
        for forked in running.values():
            forked.exit.set_result(None)

    @staticmethod
    def _reap(process: "subprocess.Popen[bytes]") -> None:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
