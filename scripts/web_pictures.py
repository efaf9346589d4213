"""`python -m scripts.web_pictures`: takes the pictures of the README and docs/ anew, from a platform of its
own that has something to show, in Debian's chromium.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from app.runtimes.demo import shipped_folder
from scripts.bench.stage import Stage, stage
from scripts.bench.web_app import Desk, desk

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, HEIGHT = 1280, 800
SETTLED_MS = 2_500
SENTENCES = ("The whale was", "A ship that", "The sea and", "In the morning")


def take(at: Desk, name: str, path: str, scheme: str = "light", height: int = HEIGHT) -> None:
    """One page, once it has all that it shows at first."""
    page = open_page(at, path, scheme, height)
    page.wait_for_timeout(SETTLED_MS)
    save(page, name)


def take_wizard(at: Desk, folder: Path) -> None:
    """What the wizard finds out about a folder before it is added."""
    page = open_page(at, "/models/new")
    page.get_by_role("radio", name="A folder of the server").click()
    page.get_by_label("Folder", exact=True).fill(str(folder))
    page.get_by_text("text-generation runs it").wait_for(timeout=30_000)
    save(page, "new-model.png")


def open_page(at: Desk, path: str, scheme: str = "light", height: int = HEIGHT) -> Page:
    size = {"width": WIDTH, "height": height}
    context = at.browser.new_context(storage_state=at.state, color_scheme=scheme, viewport=size)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(at.url(path))
    return page


def save(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / name)
    page.context.close()
    print(f"docs/images/{name}")


def predict_some(on: Stage) -> str:
    """Something in each chart and table; the id of a finished text."""
    for model, values in (("demo/minilm", {"text": "the sea"}), ("demo/digits", {"prompt": "seven"})):
        on.predict(model, values)
    for sentence in SENTENCES:
        body = {"version": "demo/words", "input": {"prompt": sentence, "max_new_tokens": 90}}
        made = on.client.post("/v1/predictions", json=body, headers={"Prefer": "wait=50"}).raise_for_status()
    return str(made.json()["id"])


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="models-") as root:
        folder = Path(root) / "sea-words"
        shutil.copytree(str(shipped_folder("words")), folder)
        with stage(MODEL_ROOTS=root) as on, desk(on) as at:
            run = predict_some(on)
            take(at, "playground.png", f"/models/demo/words?run={run}")
            take_wizard(at, folder)
            time.sleep(60)  # a point of the charts is a minute
            predict_some(on)
            take(at, "fleet-dark.png", "/fleet?window=1h", "dark", height=1_560)  # with the charts at its end
    return 0


if __name__ == "__main__":
    sys.exit(main())
