"""The commands of QUICKSTART, the guides and the examples, run one after the other as a newcomer would, on a
platform of their own.

A box marked `sh` is run; one marked `bash` is not: it never ends, or changes the machine.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_from_pypi import NODE_BIN
from platform_under_test import UpPlatform
from waiting import eventually

from app.local.ports import choose_port

ROOT = Path(__file__).parents[2]
PAPERS = (
    "docs/QUICKSTART.md",
    *(f"docs/guides/{path.name}" for path in sorted((ROOT / "docs/guides").glob("*.md"))),
)
pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpPlatform]:
    """In the folder `.lovage` of a folder that looks like a checkout; models of one's own lie beside it."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    shutil.copytree(ROOT / "examples", home / "examples")
    shutil.copy(ROOT / "examples" / "lovage.yaml", home)
    started = UpPlatform.in_folder(home / ".lovage")
    started.more = {"MODEL_ROOTS": str(home / "models")}
    started.up()
    yield started
    started.down()


def run_boxes(platform: UpPlatform, paper: str) -> str:
    """What the boxes of a paper print, all in one shell, as they stand but for the port."""
    boxes = re.findall(r"^```sh\n(.*?)^```", (ROOT / paper).read_text("utf-8"), re.M | re.S)
    assert boxes, paper
    script = "".join(boxes).replace("127.0.0.1:8000", f"127.0.0.1:{platform.port}")
    path = f"{Path(sys.executable).parent}:{NODE_BIN}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "COLUMNS": "200"}
    home = platform.folder.parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


SAID = {
    "docs/QUICKSTART.md": ("hello", "Hello, Ann Ann", "succeeded hooked", "from Ben", "demo/echo"),
    "docs/guides/own-code.md": ("ten-minutes-or-less",),
    "docs/guides/webhooks.md": ("whsec_",),
    "docs/guides/tuning.md": ("p99",),
    "docs/guides/deployment-file.md": ("team/echo: registered as",),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_the_commands_of_a_paper_run(platform: UpPlatform, paper: str) -> None:
    printed = run_boxes(platform, paper)
    for text in SAID[paper]:
        assert text in printed


def test_the_examples_run(platform: UpPlatform) -> None:
    printed = run_boxes(platform, "examples/README.md")
    assert '"hello"' in printed
    for text in ("one", "two", "three"):
        assert f"{text}: succeeded {text}" in printed
    for protocol in ("HTTP", "WebSocket", "MCP", "OpenAI", "backend"):
        assert f"\n{protocol}: " in printed  # the text as Python writes it, in either quotes
    lines = (platform.folder.parent / "outputs.jsonl").read_text().splitlines()
    assert len(lines) == 2


def example(platform: UpPlatform, *arguments: str) -> Any:
    env = {**os.environ, "LOVAGE_URL": platform.url, "LOVAGE_TOKEN": platform.key}
    command = [sys.executable, *arguments]
    home = platform.folder.parent
    return subprocess.run(
        command, cwd=home, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_examples_say_what_goes_wrong_in_a_sentence(platform: UpPlatform) -> None:
    for arguments, said in (
        (("examples/predict.py", "demo/echo", '{"fail": "no luck"}'), "failed: no luck"),
        (("examples/predict.py", "demo/echo", '{"seconds": -1}'), "422 invalid_input"),
        (("examples/stream.py", "demo/nothing", "x"), "could not be found"),
        (("examples/multi_protocol.py", "demo/nothing", "x"), "backend failed: "),
    ):
        done = example(platform, *arguments)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
    source = platform.folder.parent / "mixed.jsonl"
    source.write_text('{"text": "a"}\n{"fail": true}\nnot json\n')
    assert (
        "2 of 3 failed"
        in example(platform, "examples/batch.py", "demo/echo", "mixed.jsonl", "out.jsonl").stderr
    )
    assert (
        "2 of 2 failed"
        in example(platform, "examples/batch.py", "demo/echo", "mixed.jsonl", "out.jsonl").stderr
    )


@pytest.mark.parametrize("kind", ["python", "node"])
def test_the_receivers_take_what_is_genuine_once_and_refuse_the_rest(platform: UpPlatform, kind: str) -> None:
    port, folder = choose_port(), platform.folder.parent
    with platform.client() as client:
        secret = client.get("/v1/webhooks/default/secret").json()["key"]
        env = {**os.environ, "LOVAGE_WEBHOOK_SECRET": secret, "PORT": str(port)}
        uvicorn = [sys.executable, "-u", "-m", "uvicorn", "webhook_receiver:app", "--port", str(port)]
        command = uvicorn if kind == "python" else [str(NODE_BIN / "node"), "webhook_receiver.mjs"]
        told = folder / f"{kind}.txt"
        with told.open("w") as output:
            receiver = subprocess.Popen(
                command, cwd=folder / "examples", env=env, stdout=output, stderr=output
            )
        try:
            eventually(lambda: "unning on" in told.read_text() or "listens" in told.read_text(), 20)
            hook = {"webhook": f"http://127.0.0.1:{port}/hook", "webhook_events_filter": ["completed"]}
            body = {"version": "demo/echo", "input": {"text": "x"}, **hook}
            made = client.post("/v1/predictions", json=body).json()["id"]
            eventually(lambda: f"{made} succeeded" in told.read_text(), 20)
            client.post(f"/v1/predictions/{made}/redeliver")
            deliveries = f"/v1/predictions/{made}/deliveries"
            eventually(lambda: client.get(deliveries).json()["results"][0]["attempts"][1:], 20)
            assert told.read_text().count(f"{made} succeeded") == 1
            forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
            answer = client.post(f"http://127.0.0.1:{port}/hook", json={"id": "forged"}, headers=forged)
            assert answer.status_code == 400
        finally:
            receiver.terminate()
            receiver.wait(20)
