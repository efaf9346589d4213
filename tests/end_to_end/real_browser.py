"""A real browser for the tests of the web app, and what it complained of."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import UpPlatform
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# The browser says so by itself in most cases, in words of its own.
SAY_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`against the Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`))"""
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one file's tests, and not of the whole run as pytest-playwright's: Playwright's event loop ends with
    it, so that asynchronous tests may follow in the same process."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def state(platform: UpPlatform, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cookie of somebody who came by the link that `lovage up` prints, which works once."""
    if (kept := tmp_path_factory.getbasetemp() / "browser.json").exists():
        return kept
    link = next(word for word in platform.first_screen.split() if "/sign-in#" in word)  # type: ignore[attr-defined]
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_url(f"{platform.url}/")
    again = context.browser.new_page()  # type: ignore[union-attr]
    again.goto(link)
    expect(again.get_by_role("alert")).to_contain_text("was used already")
    context.storage_state(path=kept)
    context.close()
    return kept


class Watched:
    """A page, and what its browser complained of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.add_init_script(SAY_VIOLATIONS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.complaints.append(f"a request to another host: {request.url}")

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page


@pytest.fixture
def context_of(browser: Browser, state: Path) -> Iterator[Any]:
    opened: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        opened.append(browser.new_context(storage_state=state, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def watched(context_of: Any, platform: UpPlatform) -> Iterator[Watched]:
    seen = Watched(context_of().new_page(), platform.url)
    yield seen
    assert seen.complaints == []


def ended(page: Page, status: str = "succeeded", seconds: float = 90) -> Any:
    """The run that is shown, once it has ended so."""
    run = page.get_by_test_id("run").first
    expect(run).to_have_attribute("data-status", status, timeout=seconds * 1000)
    return run
