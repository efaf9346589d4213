"""The system has no process for another model: that load fails, and the fork server lives on with all other models."""

import errno
import os
import socket
import threading

import pytest

from app.engine.fork_client import ForkServerClient
from app.engine.fork_server import ForkServer


def test_a_fork_that_fails_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    ours, theirs = socket.socketpair()
    server, client = ForkServer(theirs), ForkServerClient((), 1)
    client._control = ours
    threads = [threading.Thread(target=server._request), threading.Thread(target=client._listen, args=(ours,))]
    for thread in threads:
        thread.start()
    with open(os.devnull) as nothing, pytest.raises(OSError, match=r"no process for it: .*temporarily unavailable"):
        client.fork([nothing.fileno()], 10)
    theirs.close()
    for thread in threads:
        thread.join()
    ours.close()
