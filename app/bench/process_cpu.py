"""CPU seconds of processes, as the operating system counts them: of a whole platform by its parts, or of any
process trees.

Knows `lovage up`'s processes by their command lines. Does not know what they work on.
"""

from collections.abc import Iterable
from contextlib import suppress

import psutil

# Words of a direct child's command line -> the part that it and its children are. The first match counts.
PARTS = (
    ("api", ("app", "api")),
    ("courier", ("app", "worker", "--courier")),
    ("worker", ("app", "worker")),
    ("clock", ("app", "clock")),
    ("flower", ("app", "flower")),
)
SERVERS = (("postgres", "postgres"), ("redis", "valkey-server"), ("redis", "redis-server"))
FORK_SERVER = "app.engine.fork_server"
MODELS = "models"

Process = tuple[int, float]  # pid and start: a pid may be used again
Usage = dict[str, dict[Process, float]]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """User and system seconds of these processes and all their children, also of those that have ended."""
    return sum(sum(_times(process, ended=True).values()) for process in processes)


def usage(launcher: int | None) -> Usage:
    """Seconds so far of each part of the platform that this `lovage up` started; nothing when there is
    none."""
    seconds: Usage = {}
    for child in _children(launcher):
        part = _part(child)
        if part:
            seconds.setdefault(part, {}).update(_times(child))
        if part == "worker":
            seconds.setdefault(MODELS, {}).update(_models(child))
    for model in seconds.get(MODELS, {}):
        seconds["worker"].pop(model, None)
    return seconds


def spent(before: Usage, after: Usage) -> dict[str, float]:
    """Seconds of each part between two looks. What a process used that ended in between is not known and not
    counted."""
    return {
        part: sum(seconds - before.get(part, {}).get(process, 0.0) for process, seconds in processes.items())
        for part, processes in after.items()
    }


def _children(pid: int | None) -> list[psutil.Process]:
    if pid is None:
        return []
    try:
        return list(psutil.Process(pid).children())
    except psutil.Error:
        return []


def _models(worker: psutil.Process) -> dict[Process, float]:
    seconds: dict[Process, float] = {}
    with suppress(psutil.Error):
        for server in worker.children():
            if FORK_SERVER in _words(server):
                for model in server.children():
                    seconds |= _times(model)
    return seconds


def _times(process: psutil.Process, *, ended: bool = False) -> dict[Process, float]:
    """Of it and all its living children; `ended`: what their children used that have ended is theirs."""
    seconds: dict[Process, float] = {}
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                times = each.cpu_times()
                by_ended = times.children_user + times.children_system if ended else 0.0
                seconds[each.pid, each.create_time()] = times.user + times.system + by_ended
    return seconds


def _part(process: psutil.Process) -> str:
    words = _words(process)
    program = words[0].rpartition("/")[2] if words else ""
    for part, name in SERVERS:
        if program.startswith(name):
            return part
    return next((part for part, required in PARTS if set(required) <= set(words)), "")


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
