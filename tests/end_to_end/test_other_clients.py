"""The clients of other languages' users, and `replicate` 2.x: unmodified, each in a process of its own."""

import re
import sys
from pathlib import Path

import pytest
from node_from_pypi import NODE_BIN, ran
from platform_under_test import UpPlatform

from scripts.clients.models import make_caller
from scripts.clients.suite_files import SUITES

HERE = Path(__file__).parent
REPLICATE_TWO = "replicate==2.0.0b4"
CACHE = HERE.parents[1] / "build" / REPLICATE_TWO.replace("==", "-")


@pytest.fixture(scope="session")
def replicate_two() -> Path:
    """A folder with `replicate` 2.x and what it needs; the tests' own process has 1.x."""
    mark = CACHE / ".installed"
    if not mark.exists():
        pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-q", "--upgrade")
        ran(*pip, "--target", CACHE, REPLICATE_TWO, seconds=300)
        mark.touch()
    return CACHE


@pytest.mark.parametrize(("client", "tests"), [("replicate", 21), ("openai", 11), ("ai_sdk", 10)])
def test_the_javascript_client_works_unmodified(
    platform: UpPlatform, node_modules: None, client: str, tests: int
) -> None:
    command = (NODE_BIN / "node", "--test", "--test-reporter=tap", f"{client}.mjs")
    printed = ran(*command, seconds=240, LOVAGE_URL=platform.url, LOVAGE_KEY=platform.key)
    assert re.search(rf"^# pass {tests}$", printed, re.MULTILINE), printed


def test_replicate_two_works_unmodified(platform: UpPlatform, replicate_two: Path) -> None:
    where = {"LOVAGE_URL": platform.url, "LOVAGE_KEY": platform.key, "PYTHONPATH": str(replicate_two)}
    # `replicate.use` knows only the client of the module, and that knows only the environment.
    module_client = {
        "REPLICATE_BASE_URL": f"{platform.url}/v1",
        "REPLICATE_API_TOKEN": platform.key,
        "NO_PROXY": "127.0.0.1",
    }
    printed = ran(sys.executable, HERE / "python" / "replicate_two.py", seconds=240, **where, **module_client)
    assert printed.count("ok ") == 22, printed


@pytest.fixture(scope="session")
def caller(platform: UpPlatform) -> str:
    """A model whose chat template has tools."""
    make_caller(platform.roots / "caller")
    version = {"source": "path:caller", "runtime": "text-generation"}
    with platform.client() as http:
        made = http.post("/v1/models", json={"name": "caller", "version": version})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.mark.parametrize("suite", ["anthropic_client", "ollama_client", "langchain_models"])
def test_a_suite_of_make_clients_passes(platform: UpPlatform, caller: str, suite: str) -> None:
    """With OpenAI's, Replicate's and the AI SDK, which have files of their own here, these are the ones most
    used; the others need environments of their own."""
    where = {"LOVAGE_URL": platform.url, "LOVAGE_KEY": platform.key, "NO_PROXY": "127.0.0.1"}
    models = {"TEXT": "demo/words", "EMBED": "demo/minilm", "CALLER": caller}
    ran(sys.executable, SUITES / f"{suite}.py", seconds=240, **where, **models)
