"""A fork server in need: the system gives no process for another model; its worker has a thousand files
open."""

import errno
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from engine_support import Start, ending, spec, submit, work

from app.domain.work import Finished
from app.engine.fork_client import ForkServerClient
from app.engine.fork_server import ForkServer

SELECT_KNOWS = 1024


def test_a_fork_that_fails_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    ours, theirs = socket.socketpair()
    server, client = ForkServer(theirs), ForkServerClient((), 1)
    client._control = ours
    threads = [
        threading.Thread(target=server._request),
        threading.Thread(target=client._listen, args=(ours,)),
    ]
    for thread in threads:
        thread.start()
    with (
        open(os.devnull) as nothing,
        pytest.raises(OSError, match=r"no process for it: .*temporarily unavailable"),
    ):
        client.fork([nothing.fileno()], 10)
    theirs.close()
    for thread in threads:
        thread.join()
    ours.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * SELECT_KNOWS, hard)), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(SELECT_KNOWS)]
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_models_are_loaded_however_many_files_the_worker_has_open(
    many_files: None, start_engine: Start
) -> None:
    assert isinstance(ending(submit(start_engine(), spec(), work())), Finished)
