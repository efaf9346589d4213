"""Loopback ports: which are free, which to choose, who sits on one.

Knows sockets; does not know which server will listen.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket

# Below every system's range for outgoing connections (Linux 32768.., others 49152..). In that range a client
# that keeps dialling a server that is down can be given the server's own port and connect to itself, and then
# the server cannot come back.
LOWEST, HIGHEST = 15_000, 32_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on `host:port` now. Raises OSError when that has nothing to do with who
    else listens: the address is not this machine's, or the port is not for this user."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that are closing don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def choose_port() -> int:
    """A free loopback port outside the range of outgoing connections."""
    chooser = random.SystemRandom()
    while True:
        port = chooser.randint(LOWEST, HIGHEST)
        if is_free(port):
            return port


def holder_of(port: int) -> str:
    """`"pid 12 (nginx)"` for the process that listens on `port`; "another program" where we may not know."""
    import psutil  # 20 ms, and only an error message needs it

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another program"
