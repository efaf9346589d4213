"""Engines with real fork servers and model processes. Nothing is preloaded, so that a process costs about 20
ms."""

from collections.abc import Iterator
from typing import Any

import pytest
from engine_support import QUICK, RUNTIMES, Start

from app.engine.engine import Engine, EngineOptions


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """One engine for all tests that do not change its options; each test has versions of its own."""
    engine = Engine(EngineOptions(runtime_folders=(str(RUNTIMES),), timeouts=QUICK))
    engine.start()
    yield engine
    engine.stop(0)


@pytest.fixture
def start_engine() -> Iterator[Start]:
    """Engines with options of their own, stopped at the end."""
    engines: list[Engine] = []

    def start(**options: Any) -> Engine:
        engine = Engine(EngineOptions(**{"runtime_folders": (str(RUNTIMES),), "timeouts": QUICK, **options}))
        engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.stop(0)
