"""The web app's long walk, by `make web-test`: every page in light and dark, wide and narrow, with axe; every
demo model from its form; what one does with a mouse and with keys alone; how quick it is in the browser's own
measure."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_under_test import UpPlatform, wait_all
from playwright.sync_api import Browser, Page, expect
from real_browser import Watched, ended, needs_chromium

from app.runtimes.demo import shipped_folder
from scripts.bench.web_app import Trace, form_seconds, insert_many, traced

pytestmark = [
    needs_chromium,
    pytest.mark.skipif("LOVAGE_WEB_WALK" not in os.environ, reason="minutes; by `make web-test`"),
    pytest.mark.timeout(900),
]
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
MISSING = "/p/01kam7vn3c9x0r2f4h6j8m0p2s"
PAGES = f"""
/ /models /models/new /models/demo/words /models/demo/echo /models/demo/minilm /models/demo/digits
/models/demo/words?tab=schema /models/demo/words?tab=versions
/models/demo/words?tab=readme /models/demo/words?tab=stats /models/demo/words?tab=manage
/models/demo/minilm?tab=api /predictions /errors
/fleet /backends /keys /webhooks /files /usage /settings /admin /admin?tab=audit /admin?tab=setup
/sign-in {MISSING}
""".split()
LONGEST_TASK_MS = 100


def run_button(page: Page) -> Any:
    return page.get_by_role("button", name="Run", exact=True)


@pytest.fixture(scope="session")
def failures(platform: UpPlatform) -> list[str]:
    """Five failures of two kinds."""
    with platform.client() as client:
        errors = [f"cannot read '/data/{n}.bin' after {n} tries" for n in range(4)] + ["no such label"]
        bodies = [{"version": "demo/echo", "input": {"text": "x", "fail": error}} for error in errors]
        ids = [client.post("/v1/predictions", json=body).json()["id"] for body in bodies]
        wait_all(client, ids)
    return ids


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_every_page_is_whole_and_axe_finds_nothing_serious(
    context_of: Any, platform: UpPlatform, failures: list[str], scheme: str, width: int
) -> None:
    context = context_of(color_scheme=scheme, viewport={"width": width, "height": 844})
    problems = []
    for path in (*PAGES, f"/p/{failures[0]}", f"/p/{failures[0]}?tab=events"):
        seen = Watched(context.new_page(), platform.url)
        page = seen.go(path)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        problems += [(path, each["id"], each["nodes"][0]["html"][:160]) for each in serious]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append((path, "wider than the screen", ""))
        if path != MISSING:  # which is not there: the browser notes the 404
            problems += [(path, "complaint", each) for each in seen.complaints]
        page.close()
    assert problems == []


def test_each_demo_model_runs_from_its_form(watched: Watched) -> None:
    page = watched.go("/models/demo/minilm")
    page.get_by_label("Text").fill("the sea")
    run_button(page).click()
    expect(ended(page)).to_contain_text("384 numbers")
    watched.go("/models/demo/digits")
    page.get_by_label("Prompt needed").fill("seven")
    run_button(page).click()
    expect(ended(page).get_by_role("img").first).to_be_visible()
    watched.go("/models/demo/words")
    page.get_by_label("Prompt", exact=True).fill("The whale")
    run_button(page).click()
    expect(ended(page).get_by_test_id("text-output")).not_to_be_empty()
    page.get_by_role("button", name="Go on with this conversation").click()
    expect(page.get_by_label("Message 3", exact=True)).to_be_visible()


def test_a_demo_model_says_what_it_is_in_its_readme(watched: Watched) -> None:
    page = watched.go("/models/demo/words?tab=readme")
    expect(page.get_by_role("heading", name="demo/words: English words")).to_be_visible()


def test_two_runs_stand_side_by_side_and_a_link_shows_both_again(watched: Watched) -> None:
    page = watched.go("/models/demo/echo")
    page.get_by_label("Text", exact=True).fill("left one")
    run_button(page).click()
    ended(page)
    page.get_by_label("Text", exact=True).fill("right one")
    page.get_by_role("button", name="beside").click()
    expect(page.get_by_text("right one").last).to_be_visible()
    before = page.url
    page.get_by_label("First").get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != before)
    page.reload()
    expect(page.get_by_test_id("run")).to_have_count(2)
    expect(page.get_by_label("First")).to_contain_text("left one")
    expect(page.get_by_label("Beside it")).to_contain_text("right one")


def test_a_wrong_input_is_named_at_its_field_before_and_after_the_server(watched: Watched) -> None:
    page = watched.go("/models/demo/echo")
    page.get_by_text("Advanced").click()
    page.get_by_label("Chunks", exact=True).last.fill("99999")
    run_button(page).click()
    expect(page.get_by_text("At most 10000.")).to_be_visible()


def test_a_failure_is_found_opened_and_its_kind_run_again(watched: Watched, failures: list[str]) -> None:
    page = watched.go("/predictions")
    page.get_by_role("button", name="Failed").click()
    expect(page).to_have_url(re.compile("status=failed"))
    page.get_by_role("link", name="demo/echo").first.click()
    expect(page.get_by_role("alert").first).to_contain_text(re.compile("no such label|cannot read"))
    watched.go("/errors")
    group = page.get_by_role("listitem").filter(has_text="cannot read").first
    expect(group).to_contain_text("4")
    group.get_by_role("button", name="Run all again").click()
    page.get_by_role("button", name="Run them again").click()
    expect(page.get_by_text("4 predictions run again")).to_be_visible()


def test_a_prediction_is_found_by_its_text_and_an_administrator_sees_everybodys(
    watched: Watched, failures: list[str]
) -> None:
    page = watched.go("/predictions")
    page.get_by_role("searchbox", name="Text").fill("no such label")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("text=no"))
    expect(page.get_by_role("row").filter(has_text="no such label")).not_to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="cannot read")).to_have_count(0)
    watched.go("/predictions?user=*&error_code=model_failed")
    expect(page.get_by_role("button", name="More filters (2)")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="by admin")).not_to_have_count(0)


def test_a_worker_is_drained_and_resumed_and_a_model_loaded_and_unloaded_on_it(watched: Watched) -> None:
    page = watched.go("/fleet")
    card = page.get_by_role("article").first
    card.get_by_role("button", name=re.compile("^Drain")).click()
    page.get_by_role("button", name="Drain it").click()
    expect(card.get_by_text("drained", exact=True)).to_be_visible(timeout=20_000)
    card.get_by_role("button", name=re.compile("^Resume")).click()
    expect(card.get_by_text("drained", exact=True)).to_be_hidden(timeout=20_000)
    card.get_by_role("button", name=re.compile("^Load a model")).click()
    page.get_by_role("dialog").get_by_role("combobox").select_option("demo/digits")
    page.get_by_role("button", name="Load it").click()
    unload = card.get_by_role("button", name="Unload demo/digits")
    expect(unload).to_be_visible(timeout=60_000)
    unload.click()
    expect(unload).to_be_hidden(timeout=60_000)


def test_a_run_says_what_it_waits_for_until_its_model_begins(watched: Watched, client: httpx.Client) -> None:
    version = {"runtime": "echo", "config": {"load_seconds": 15}}
    client.post("/v1/models", json={"owner": "admin", "name": "late", "version": version}).raise_for_status()
    body = {"version": "admin/late", "input": {"text": "x", "seconds": 600}}
    made = client.post("/v1/predictions", json=body).json()
    page = watched.go(f"/p/{made['id']}")
    expect(page.get_by_text("Its model is being loaded").first).to_be_visible(timeout=14_000)
    expect(page.get_by_test_id("run")).to_have_attribute("data-status", "processing", timeout=60_000)
    expect(page.get_by_text("Its model is being loaded")).to_have_count(0)
    client.post(f"/v1/predictions/{made['id']}/cancel")


def test_many_that_wait_are_canceled_at_once(watched: Watched, client: httpx.Client) -> None:
    body = {"version": "demo/echo", "input": {"text": "long", "seconds": 600}}
    ids = [client.post("/v1/predictions", json=body).json()["id"] for _ in range(3)]
    page = watched.go("/predictions")
    for each in ids:
        page.get_by_label(f"Select {each}").check()
    page.get_by_role("button", name="Cancel 3").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_text("3 predictions canceled")).to_be_visible()
    assert {each["status"] for each in wait_all(client, ids)} == {"canceled"}


def test_a_model_is_added_rolled_back_loaded_unloaded_and_deleted(watched: Watched) -> None:
    page = watched.go("/models/new")
    page.get_by_role("radio", name="No files").click()
    page.get_by_label("Runtime").select_option("echo")
    page.get_by_label("Name", exact=True).fill("walked")
    page.get_by_role("button", name="Add the model").click()
    page.wait_for_url("**/models/admin/walked")
    page.request.post(
        f"{watched.url}/v1/models/admin/walked/versions",
        data={"runtime": "echo", "config": {"joins": True}},
        headers={"Origin": watched.url},
    )
    watched.go("/models/admin/walked?tab=versions")
    page.get_by_role("button", name="Roll back to this").click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.get_by_text("now runs version")).to_be_visible()
    page.get_by_role("tab", name="Manage").click()
    page.get_by_role("button", name="Load", exact=True).click()
    page.get_by_role("button", name="Unload", exact=True).click(timeout=60_000)
    page.get_by_role("button", name="Delete the model").click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/models")


def test_the_wizard_says_what_would_run_a_folder_before_it_is_added(
    watched: Watched, platform: UpPlatform
) -> None:
    shutil.copytree(str(shipped_folder("words")), platform.roots / "whales", dirs_exist_ok=True)
    page = watched.go("/models/new")
    page.get_by_role("radio", name="A folder of the server").click()
    page.get_by_label("Folder", exact=True).fill(str(platform.roots / "whales"))
    found = page.get_by_label("What was found out")
    expect(found).to_contain_text("text-generation runs it", timeout=20_000)
    page.get_by_label("Runtime").select_option("image-generation")
    expect(found.get_by_role("listitem").first).to_be_visible(timeout=20_000)
    page.get_by_label("Runtime").select_option("")
    page.get_by_role("button", name="Add the model").click()
    page.wait_for_url("**/models/admin/whales", timeout=30_000)
    page.get_by_label("Prompt", exact=True).fill("The whale")
    run_button(page).click()
    expect(ended(page).get_by_test_id("text-output")).not_to_be_empty()


def test_a_folder_is_uploaded_stopped_goes_on_where_it_was_and_runs(watched: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "my-words"
    shutil.copytree(str(shipped_folder("words")), folder)
    (folder / "pytorch_model.bin").write_bytes(b"a second copy of the weights")
    (folder / ".cache").write_bytes(b"hidden")
    sent: list[str] = []

    def count_and_hold_back_the_rest(route: Any) -> None:
        sent.append(route.request.url)
        if len(sent) <= 2:
            route.continue_()

    page = watched.go("/models/new")
    page.get_by_role("radio", name="A folder of this computer").click()
    page.get_by_label("Folder of the model").set_input_files(folder)
    expect(page.get_by_text("my-words: 7 files")).to_be_visible()
    page.route("**/upload/*/*/*", count_and_hold_back_the_rest)
    page.get_by_role("button", name="Add the model").click()
    expect(page.get_by_text("Sent: ")).to_be_visible(timeout=20_000)
    page.wait_for_function("() => !/Sent: 0 B/.test(document.body.innerText)")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    page.unroute("**/upload/*/*/*")
    again: list[str] = []
    page.on("request", lambda request: again.append(request.url) if request.method == "PUT" else None)
    page.get_by_role("button", name="Add the model").click()
    page.wait_for_url("**/models/admin/my-words", timeout=30_000)
    assert 0 < len(again) < 7
    page.get_by_label("Prompt", exact=True).fill("The whale")
    run_button(page).click()
    expect(ended(page).get_by_test_id("text-output")).not_to_be_empty()


def test_a_model_that_cannot_be_is_refused_with_its_reason(watched: Watched) -> None:
    page = watched.go("/models/new")
    page.get_by_role("radio", name="A folder of the server").click()
    page.get_by_label("Folder").fill("/nowhere/at/all")
    page.get_by_role("button", name="Add the model").click()
    expect(page.get_by_role("alert")).to_be_visible()
    watched.complaints = [each for each in watched.complaints if "422" not in each]


def test_keys_alone_run_a_model(watched: Watched) -> None:
    page = watched.go("/models")
    expect(page.get_by_role("link", name="demo/echo")).to_be_visible()

    def press_until(there: Any, key: str = "Tab", most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press(key)
            if there.evaluate("node => node === document.activeElement"):
                return
        raise AssertionError("it cannot be reached by keyboard")

    press_until(page.get_by_role("link", name="demo/echo").first)
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/demo/echo")
    press_until(page.get_by_label("Text", exact=True))
    page.keyboard.press("Control+A")
    page.keyboard.type("by keys")
    page.keyboard.press("Control+Enter")
    expect(ended(page)).to_contain_text("by keys")


def test_an_offline_server_is_said_and_what_was_there_stays(watched: Watched) -> None:
    page = watched.go("/fleet")
    expect(page.get_by_text("workers alive")).to_be_visible()
    page.route("**/status", lambda route: route.abort())
    # Of a fleet that does nothing it is asked every 20 seconds.
    expect(page.get_by_text("Lovage does not answer")).to_be_visible(timeout=40_000)
    expect(page.get_by_text("workers alive")).to_be_visible()
    page.unroute("**/status")
    expect(page.get_by_text("Lovage does not answer")).to_be_hidden(timeout=30_000)
    watched.complaints = [each for each in watched.complaints if "Failed to load resource" not in each]


def test_a_page_whose_file_is_gone_is_loaded_anew_once_and_then_says_so(watched: Watched) -> None:
    page = watched.go("/")
    loaded: list[str] = []
    page.on("framenavigated", lambda frame: loaded.append(frame.url))
    page.route("**/assets/keys.js*", lambda route: route.fulfill(status=404))
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("A part of this page could not be loaded")).to_be_visible(timeout=20_000)
    assert loaded.count(f"{watched.url}/keys") == 2  # where the link leads, and once more
    page.unroute("**/assets/keys.js*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="API keys")).to_be_visible()
    watched.complaints = [each for each in watched.complaints if "404" not in each and "module" not in each]


def test_a_page_that_cannot_be_loaded_waits_for_the_server(watched: Watched) -> None:
    page = watched.go("/")
    expect(page.get_by_role("link", name="API keys")).to_be_visible()
    page.route("**/*", lambda route: route.abort())
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_role("main").get_by_text("Lovage does not answer")).to_be_visible(timeout=20_000)
    page.unroute("**/*")
    expect(page.get_by_role("heading", name="API keys")).to_be_visible(timeout=20_000)
    watched.complaints = []


def longest_task(trace: Trace) -> float:
    """Of the page's main thread, in milliseconds of CPU time: what else the machine runs is not counted."""
    assert len(trace.tasks) > 10, "the trace has no tasks"
    print("longest tasks, (CPU, by the clock) in ms:", trace.tasks[:5])
    return trace.tasks[0][0]


@pytest.fixture
def many(platform: UpPlatform) -> None:
    """A list of 100,000 ended predictions of the administrator's."""
    insert_many(platform.state.database_url)


def test_a_hundred_thousand_predictions_scroll_and_filter_without_a_long_task(
    browser: Browser, context_of: Any, platform: UpPlatform, many: None
) -> None:
    page = context_of(viewport={"width": 1360, "height": 900}).new_page()
    page.goto(f"{platform.url}/predictions")
    expect(page.get_by_role("row").nth(10)).to_be_visible()
    with traced(browser, page) as trace:
        for _ in range(60):
            page.mouse.wheel(0, 2_000)
            page.wait_for_timeout(50)
        page.get_by_role("searchbox", name="Model").fill("many/model-7")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="many/model-7").first).to_be_visible()
    assert longest_task(trace) <= LONGEST_TASK_MS


def test_ten_thousand_tokens_are_shown_without_a_long_task(
    browser: Browser, context_of: Any, platform: UpPlatform, client: httpx.Client
) -> None:
    page = context_of().new_page()
    body = {"version": "demo/echo", "input": {"text": "token ", "chunks": 10_000, "seconds": 12}}
    made = client.post("/v1/predictions", json=body).json()
    page.goto(f"{platform.url}/p/{made['id']}")
    expect(page.get_by_test_id("text-output")).to_contain_text("token", timeout=60_000)
    with traced(browser, page) as trace:
        ended(page, seconds=90)
    assert len(page.get_by_test_id("text-output").inner_text()) >= 10_000
    assert longest_task(trace) <= LONGEST_TASK_MS


def test_the_first_view_of_the_playground_is_there_within_a_second(
    context_of: Any, platform: UpPlatform
) -> None:
    times = []
    for _ in range(3):
        page = context_of().new_page()
        form, paint = form_seconds(page, f"{platform.url}/models/demo/words")
        print(f"after the HTML: first paint {paint * 1_000:.0f} ms, form {form * 1_000:.0f} ms")
        times.append(form)
        page.close()
    assert 0 < min(times) <= 1
