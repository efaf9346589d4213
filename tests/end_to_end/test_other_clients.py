"""The clients of other languages' users, and `replicate` 2.x: unmodified, each in a process of its own."""

import re
import sys
from pathlib import Path

import pytest
from node_from_pypi import NODE_BIN, ran
from platform_under_test import UpPlatform

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
