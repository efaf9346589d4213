"""Measures memory: a process's own share, a folder's weights, what the machine has free. Reads /proc; knows
no models."""

import contextlib
from pathlib import Path

import psutil

# Beside its weights a freshly forked model process was measured to own 30 to 60 MB (interpreter pages it
# wrote to, buffers).
PROCESS_BYTES = 50_000_000
CGROUP = Path("/sys/fs/cgroup")
WEIGHT_SUFFIXES = (".safetensors", ".npz", ".onnx", ".bin", ".gguf", ".pt")


def pss(pid: int) -> int:
    """Proportional set size in bytes: own pages plus a fair share of pages shared with the fork server. 0
    when it is gone.

    smaps_rollup, not psutil's sum over smaps: 0.5 ms instead of 20 ms for a process with torch.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def expected_bytes(folder: str) -> int:
    """What a model that was never loaded will take: its weight files and a process."""
    size = 0
    with contextlib.suppress(OSError):
        size = (
            sum(file.stat().st_size for file in Path(folder).rglob("*") if file.suffix in WEIGHT_SUFFIXES)
            if folder
            else 0
        )
    return size + PROCESS_BYTES


def free_bytes(cgroup: Path = CGROUP) -> int:
    """Memory that can be had without swapping, within this container's limit when it has one.

    Files that were read and are not in use count as free, in a container as outside: a model that was just
    downloaded would otherwise take its own memory.
    """
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        limit = (cgroup / "memory.max").read_text().strip()
        if limit != "max":
            used = int((cgroup / "memory.current").read_text()) - _cached(cgroup)
            free = min(free, max(0, int(limit) - used))
    return int(free)


def _cached(cgroup: Path) -> int:
    """Bytes of files that the kernel gives up first when the container needs memory."""
    for line in (cgroup / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
