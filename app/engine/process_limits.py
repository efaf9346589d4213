"""What every process of the engine does to itself first: die with its parent, leave no core, ignore the
terminal.

Linux's calls are used where they exist; elsewhere the end of the control socket does the same work a little
later. Knows nothing of models.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
# Model processes are the first that the kernel should end when memory runs out: the engine restarts them.
OOM_SCORE = "600"


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the thread that started it ends, even inside C code that never
    returns.

    Raises SystemExit when the parent (by process id) has gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def no_core() -> None:
    """A crash writes no core file: it would hold inputs and weights."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(limit: int) -> None:
    """At most `limit` bytes of private memory (0: no limit). Not RLIMIT_AS: CUDA reserves terabytes of
    addresses."""
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def prefer_as_victim() -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_SCORE)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler, not SIG_IGN, which programs started by a model would inherit."""


def leave_signals_to_parents() -> None:
    """Ctrl-C and a service manager's SIGTERM reach the whole group; the worker drains, so its models must
    live on.

    The engine ends a model process by closing its socket, then by SIGKILL.
    """
    signal.signal(signal.SIGINT, _nothing)
    signal.signal(signal.SIGTERM, _nothing)
