"""Peers' own processes; skipped, with the reason, where no Python has libp2p."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from peer_nodes import PYTHON, PeerNode, start_node
from small_platform import KEY, SmallPlatform

from app.peers.launcher import MISSING, has_packages

Start = Callable[..., PeerNode]


@pytest.fixture(scope="session")
def p2p_python() -> str:
    if not has_packages(PYTHON):
        pytest.skip(f"{MISSING} `make peers` runs these tests in an environment of its own.")
    return PYTHON


@pytest.fixture
def begin_peer(p2p_python: str, tmp_path: Path) -> Iterator[Start]:
    """Starts peers, which are not ready at once: `begin_peer(name, **options)`."""
    nodes: list[PeerNode] = []

    def begin(name: str, **options: Any) -> PeerNode:
        nodes.append(start_node(tmp_path / name / "peer", name, **options))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.process.send_signal(signal.SIGCONT)
        node.process.kill()
        node.process.wait()


@pytest.fixture
def start_peer(begin_peer: Start) -> Start:
    """The same, ready."""
    return lambda name, **options: begin_peer(name, **options).wait_ready()


@pytest.fixture
def platforms() -> Iterator[Callable[..., SmallPlatform]]:
    with ExitStack() as stack:
        yield lambda **values: stack.enter_context(SmallPlatform(**values))


@pytest.fixture
def serving(platforms: Callable[..., SmallPlatform]) -> Callable[..., dict[str, Any]]:
    """Options of a peer over a small platform of its own."""

    def options(**values: Any) -> dict[str, Any]:
        return {"api_url": platforms(**values).url, "api_key": KEY}

    return options
