"""One running platform for all tests of this folder."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from node_from_pypi import install_clients
from otlp_collector import Collector
from platform_under_test import UpPlatform
from real_browser import browser, context_of, state, watched
from webhook_receiver import Receiver

__all__ = ["browser", "context_of", "state", "watched"]  # fixtures


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the platform's traces go."""
    started = Collector()
    yield started
    started.close()


@pytest.fixture(scope="session")
def platform(collector: Collector) -> Iterator[UpPlatform]:
    folder = Path(tempfile.mkdtemp(prefix="lovage-e2e-"))
    started = UpPlatform.in_folder(folder)
    started.more = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "300"}
    started.first_screen = started.up()  # type: ignore[attr-defined]
    yield started
    started.down()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client(platform: UpPlatform) -> Iterator[httpx.Client]:
    with platform.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def node_modules() -> None:
    """The JavaScript clients are installed."""
    install_clients()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.server.shutdown()
    started.server.server_close()
