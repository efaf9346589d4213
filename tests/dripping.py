"""A server that answers so slowly that no read of it is ever too slow."""

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """The URL of a server that answers `head`, then a drop now and then for as long as it is listened to."""
    closed = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(head)
            while not closed.wait(0.02):
                connection.sendall(drop)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"
        closed.set()
        server.shutdown(socket.SHUT_RDWR)
