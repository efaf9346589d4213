"""Peers in the web app, by `make web-test`: an API process where they are on, beside the platform where they
are off, and the door of a peer process that knows what a test says."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_upstream import FakeUpstream, Writer, send_json
from platform_under_test import UpPlatform
from playwright.sync_api import Page, expect
from real_browser import Watched, needs_chromium

from app.backends.peer_door import DOOR_FILE, PEER_FOLDER

pytestmark = [
    needs_chromium,
    pytest.mark.skipif("LOVAGE_WEB_WALK" not in os.environ, reason="minutes; by `make web-test`"),
    pytest.mark.timeout(300),
]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = os.environ.get("LOVAGE_WEB_PICTURES")  # a folder: the pages are kept there, to be looked at
ADDRESS = "/ip4/10.0.0.7/tcp/4001/p2p/12D3KooW" + "b" * 44
OWN = {
    "id": "12D3KooW" + "b" * 44,
    "name": "berlin",
    "addresses": [ADDRESS, ADDRESS.replace("10.0.0.7", "192.168.178.20")],
    "offers": ["demo/words"],
    "running": 1,
    "limit": 8,
}
MODEL = {"name": "ada/words", "version": "1" * 64, "task": "text-generation", "streams": True}
PARIS = {
    "id": "12D3KooW" + "a" * 44,
    "name": "paris",
    "state": "reachable",
    "addresses": ["/ip4/10.0.0.9/tcp/4001/p2p/12D3KooW" + "a" * 44],
    "models": [MODEL],
    "running": 3,
    "limit": 8,
    "in_flight": 2,
    "calls": 40,
    "failures": 1,
    "last_failure": "broke off (StreamReset)",
    "silent_seconds": 0.4,
}
GONE = {
    **PARIS,
    "id": "12D3KooW" + "c" * 44,
    "name": "rome",
    "state": "unreachable",
    "in_flight": 0,
    "running": 0,
    "limit": 0,
    "models": [],
    "last_failure": "took no call within 5 s",
    "silent_seconds": None,
}
Known = list[dict[str, Any]]


@pytest.fixture(scope="module")
def peers_api(platform: UpPlatform) -> Iterator[str]:
    with platform.another_api(ENABLE_P2P="true") as url:
        yield url


@pytest.fixture
def known(platform: UpPlatform) -> Iterator[Known]:
    """The peers that the peer process of this machine knows."""
    peers: Known = []

    async def answer(_: FakeUpstream, __: str, ___: dict[str, Any], writer: Writer) -> None:
        await send_json(writer, {**OWN, "peers": peers})

    folder = platform.folder / PEER_FOLDER
    folder.mkdir(exist_ok=True)
    upstream = FakeUpstream(handlers={"/peers": answer}).start()
    (folder / DOOR_FILE).write_text(json.dumps({"url": upstream.url, "token": "token"}))
    yield peers
    (folder / DOOR_FILE).unlink(missing_ok=True)
    upstream.stop()


def problems_of(page: Page, width: int) -> list[Any]:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    problems: list[Any] = [(each["id"], each["nodes"][0]["html"][:160]) for each in serious]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        problems.append("wider than the screen")
    return problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_peers_are_shown_as_the_peer_process_knows_them(
    context_of: Any, peers_api: str, known: Known, scheme: str, width: int
) -> None:
    known[:] = [PARIS, GONE]
    seen = Watched(
        context_of(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page(), peers_api
    )
    page = seen.go("/backends")
    paris = page.get_by_role("article", name="paris")
    expect(paris.get_by_text("reachable", exact=True)).to_be_visible()
    expect(paris).to_contain_text("3 of 8")
    expect(paris).to_contain_text("1 (2.5 %)")
    paris.get_by_text("It offers 1 model").click()
    expect(paris.get_by_text("ada/words")).to_be_visible()
    rome = page.get_by_role("article", name="rome")
    expect(rome.get_by_text("unreachable", exact=True)).to_be_visible()
    expect(rome).to_contain_text("It took no call within 5 s.")
    expect(page.get_by_text(ADDRESS)).to_be_visible()
    known[0] = {**PARIS, "in_flight": 5, "calls": 46}
    page.get_by_role("button", name="Look again").click()
    expect(paris).to_contain_text("46")
    expect(paris.locator("canvas")).to_have_count(2)
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/peers-{scheme}-{width}.png", full_page=True)
    assert problems_of(page, width) == []
    assert seen.complaints == []


def test_without_peers_the_page_says_how_they_come(
    context_of: Any, peers_api: str, known: Known, platform: UpPlatform
) -> None:
    seen = Watched(context_of().new_page(), peers_api)
    page = seen.go("/backends")
    expect(page.get_by_text("No peer yet")).to_be_visible()
    (platform.folder / PEER_FOLDER / DOOR_FILE).unlink()
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("alert")).to_contain_text("lovage peer")
    off = Watched(context_of().new_page(), platform.url)
    expect(off.go("/backends").get_by_text("Peers are off here")).to_be_visible()
    assert seen.complaints + off.complaints == []
