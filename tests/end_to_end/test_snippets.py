"""The clients' snippets of README.md and docs/reference, run as they stand but for the address and the
key."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from node_from_pypi import NODE_BIN, ran
from platform_under_test import UpPlatform
from waiting import eventually

from app.local.ports import choose_port

ROOT = Path(__file__).parents[2]
PAPERS = ("README.md", "docs/reference/openai.md", "docs/reference/websocket.md")
SNIPPETS = [
    pytest.param(language, text, id=f"{paper}-{language}-{number}")
    for paper in PAPERS
    for number, (language, text) in enumerate(
        re.findall(r"```(python|js|sh)\n(.*?)```", (ROOT / paper).read_text(), re.S)
    )
    if re.search(r"127\.0\.0\.1:8000", text) and "@app.post" not in text
]


def here(text: str, platform: UpPlatform) -> str:
    """The snippet for this platform."""
    text = text.replace("http://127.0.0.1:8000", platform.url).replace(
        "ws://127.0.0.1:8000", platform.url.replace("http", "ws")
    )
    return text.replace(".lovage/key", str(platform.folder / "key")).replace("lov_…", platform.key)


def command(language: str, text: str) -> list[str | Path]:
    if language == "python":
        return [sys.executable, "-c", text]
    return (
        [NODE_BIN / "node", "--input-type=module", "-e", text] if language == "js" else ["bash", "-ec", text]
    )


@pytest.mark.parametrize(("language", "text"), SNIPPETS)
def test_a_snippet_runs(platform: UpPlatform, node_modules: None, language: str, text: str) -> None:
    snippet = command(language, here(text, platform))
    tries = (ran(*snippet, seconds=120, LOVAGE_KEY=platform.key, NO_PROXY="127.0.0.1") for _ in range(3))
    printed = next(filter(str.strip, tries), "")  # a model that draws its words may by chance say none
    assert printed
    assert '"error":{' not in printed


def test_every_kind_of_snippet_is_found() -> None:
    assert {one.values[0] for one in SNIPPETS} == {"python", "js", "sh"}
    assert len(SNIPPETS) >= 7


def test_the_webhook_receiver_of_the_readme_takes_a_delivery(
    platform: UpPlatform, client: httpx.Client, tmp_path: Path
) -> None:
    [text] = [
        one
        for one in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        if "@app.post" in one
    ]
    secret, port = client.get("/v1/webhooks/default/secret").json()["key"], choose_port()
    (tmp_path / "receiver.py").write_text(text.replace("whsec_…", secret))
    told = tmp_path / "told"
    with told.open("w") as output:
        started = [sys.executable, "-u", "-m", "uvicorn", "receiver:app", "--port", str(port)]
        receiver = subprocess.Popen(started, cwd=tmp_path, stdout=output, stderr=output)
        try:
            eventually(lambda: "Uvicorn running" in told.read_text())
            hook = {"webhook": f"http://127.0.0.1:{port}/hook", "webhook_events_filter": ["completed"]}
            made = client.post(
                "/v1/predictions", json={"version": "demo/echo", "input": {"text": "x"}, **hook}
            ).json()
            eventually(lambda: f"{made['id']} succeeded" in told.read_text())
        finally:
            receiver.terminate()
            receiver.wait(20)
