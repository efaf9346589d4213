"""A platform of its own on loopback, for scripts that load or break one: started quietly, ended whatever
becomes of the script.

Knows `lovage up` and signals; knows no load, no fault and no figure.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from app.cli.platform import self_check
from app.local.composition import UpOptions
from app.local.detached import down
from app.local.platform_state import Platform, read_platform
from app.local.ports import choose_port
from app.local.up import Hooks, up

RETRIES = "1,1,2,2,4,4,8,8"  # a day of patience in half a minute
UNLIMITED = {
    "RATE_LIMIT_CREATES": "off",
    "RATE_LIMIT_CALLS": "off",
    "RATE_LIMIT_KEY": "off",
    "MAX_WAITING_PER_USER": "0",
}
DISK_SIZE = "1g"  # Postgres keeps some hundred MB of its log
TERMINATED = 128 + signal.SIGTERM


def start(folder: Path, devices: tuple[str, ...] = ("cpu", "cpu"), **env: str) -> Platform:
    """`lovage up --detach`, quietly; `env` are settings beside the usual ones. Ends the script when it does
    not start."""
    options = UpOptions(
        data_dir=folder,
        port=choose_port(),
        flower_port=choose_port(),
        devices=devices,
        detach=True,
        env={**os.environ, "WORKERS_ON_HOST": str(len(devices)), "WEBHOOK_RETRY_SECONDS": RETRIES, **env},
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = up(options, Hooks(self_check=self_check))
    platform = None if code else read_platform(folder)
    if platform is None:
        raise SystemExit(f"the platform did not start: {said.getvalue()}")
    return platform


def stop(folder: Path) -> None:
    """What runs over the folder, if anything does."""
    down(folder, lambda text: None)


def remove(folder: Path, *, good: bool) -> None:
    """After a platform; one that did not do well is kept."""
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept for a look: {folder}")


@contextlib.contextmanager
def own_disk(folder: Path) -> Iterator[None]:
    """A small disk in memory over the folder, where we may mount one: so it can be filled. Of what was on it
    the logs stay."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            with tempfile.TemporaryDirectory() as kept:
                shutil.copytree(folder / "logs", Path(kept, "logs"), dirs_exist_ok=True)
                subprocess.run(["umount", "--lazy", str(folder)], check=False)
                shutil.copytree(Path(kept, "logs"), folder / "logs")


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block by an exception, as Ctrl-C does, so that no platform is left running. A second
    one is not heard."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def judged(prefix: str, judge: Callable[[Platform], bool], **env: str) -> int:
    """The exit code of a script that has `judge` say whether a platform of two workers, made for it, did
    well."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with terminable():
        try:
            good = judge(start(folder, ("cpu", "cpu"), **env))
        finally:
            stop(folder)
    remove(folder, good=good)
    return 0 if good else 1
