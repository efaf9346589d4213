"""Servers that can misbehave, and gateways over them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_upstream import FakeUpstream
from gateway_support import Gateway

from app.domain.backends import Backend


@pytest.fixture
def start_upstream() -> Iterator[Callable[..., FakeUpstream]]:
    started: list[FakeUpstream] = []

    def start(**switches: Any) -> FakeUpstream:
        upstream = FakeUpstream()
        for name, value in switches.items():
            setattr(upstream.switches, name, value)
        started.append(upstream.start())
        return upstream

    yield start
    for upstream in started:
        upstream.stop()


@pytest.fixture
def open_gateway() -> Iterator[Callable[..., Gateway]]:
    opened: list[Gateway] = []

    def open_(*backends: Backend, **more: Any) -> Gateway:
        opened.append(Gateway(*backends, **more))
        return opened[-1]

    yield open_
    for gateway in opened:
        gateway.engine.stop(0)
