"""Whether a server could listen: taken is one thing, impossible another."""

import socket

import pytest

from app.local.errors import LocalError
from app.local.ports import choose_port, is_free
from app.local.up import _may_listen


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_an_address_that_is_not_this_machines_is_said_to_be_that() -> None:
    port = choose_port()
    with pytest.raises(OSError, match="requested address"):
        is_free(port, "192.0.2.1")
    with pytest.raises(LocalError, match=f"192.0.2.1:{port} cannot be listened on: .*requested address"):
        _may_listen("--port", "192.0.2.1", port)
