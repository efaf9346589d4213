"""The web app in a real browser against the real platform: what a person does, and that the browser has
nothing to complain of."""

import json
import re
from pathlib import Path

import httpx
from platform_under_test import UpPlatform
from playwright.sync_api import Browser, expect
from real_browser import Watched, ended, needs_chromium

from app.api.web.pages import ENTRIES, FIXED, read_build

pytestmark = needs_chromium


def test_a_run_streams_goes_on_after_a_reload_and_is_canceled(watched: Watched, client: httpx.Client) -> None:
    page = watched.go("/models/demo/echo")
    page.get_by_label("Text", exact=True).fill("so it goes ")
    page.get_by_text("Advanced").click()
    page.get_by_label("Seconds", exact=True).last.fill("60")
    page.get_by_label("Chunks", exact=True).last.fill("300")
    page.get_by_role("button", name="Run", exact=True).click()
    output = page.get_by_test_id("text-output")
    expect(output).to_contain_text("so it goes", timeout=60_000)
    page.reload()
    expect(output).to_contain_text("so it goes", timeout=20_000)
    before = len(output.inner_text())
    longer = re.compile(rf"^[\s\S]{{{before + 1},}}$")
    expect(output).to_have_text(longer, timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    ended(page, "canceled", 30)


def test_a_page_needs_its_person_and_a_password_gives_one(browser: Browser, platform: UpPlatform) -> None:
    page = browser.new_page()
    page.goto(f"{platform.url}/predictions")
    page.wait_for_url("**/sign-in?next=*")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill((platform.folder / "admin-password").read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{platform.url}/predictions")
    expect(page.get_by_role("heading", name="Predictions")).to_be_visible()
    page.close()


def test_the_committed_files_are_small_and_asked_for_once(client: httpx.Client) -> None:
    shown = client.get("/", headers={"Accept": "text/html"})
    assert shown.headers["content-type"].startswith("text/html")
    assert "unsafe" not in shown.headers["content-security-policy"]
    assert client.get("/", headers={"Accept": "application/json"}).json()["name"] == "Lovage"
    names = (*ENTRIES, *FIXED, *read_build().scripts)
    answers = [client.get(f"/assets/{name}", headers={"Accept-Encoding": "gzip"}) for name in names]
    assert sum(answer.num_bytes_downloaded for answer in answers) <= 350_000
    tag = answers[0].headers["etag"]
    assert client.get("/assets/app.js", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/assets/other.js").status_code == 404


def test_another_site_cannot_act_with_the_cookie(platform: UpPlatform, state: Path) -> None:
    cookie = json.loads(state.read_text())["cookies"][0]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    cookies = {cookie["name"]: cookie["value"]}
    body = {"version": "demo/echo", "input": {"text": "x"}}

    def post(**headers: str) -> int:
        url = f"{platform.url}/v1/predictions"
        return httpx.post(url, json=body, cookies=cookies, headers=headers).status_code

    assert post() == 401
    assert post(**{"Sec-Fetch-Site": "cross-site"}) == 401
    assert post(Origin="https://evil.example") == 401
    assert post(**{"Sec-Fetch-Site": "same-origin"}) == 201
    assert post(Origin=platform.url) == 201
