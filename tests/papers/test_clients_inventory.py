"""Every operation of another platform's API is called by that platform's own client in `make clients`, whose
packages are pinned."""

import json
import re
from pathlib import Path

from scripts.clients.__main__ import all_suites

ROOT = Path(__file__).parents[2]
FOREIGN = ("openai.", "anthropic.", "ollama.")


def foreign_operations() -> set[str]:
    paths = json.loads((ROOT / "openapi.json").read_text("utf-8"))["paths"].values()
    names = {operation["operationId"] for methods in paths for operation in methods.values()}
    return {name for name in names if name.startswith(FOREIGN)}


def test_every_operation_has_a_client_that_calls_it() -> None:
    called = {name for suite in all_suites() for name in suite.calls}
    assert foreign_operations() - called == set(), "a suite of scripts/clients/suites must call it"
    assert called - foreign_operations() == set(), "there is no such operation"


def test_packages_are_pinned_and_no_suite_has_the_name_of_one() -> None:
    suites = all_suites()
    assert len(suites) >= 4
    for suite in suites:
        for needed in suite.requires:
            assert re.fullmatch(r"[\w-]+(\[\w+\])?==[\d.]+", needed), (suite.name, needed)
            assert needed.partition("=")[0].partition("[")[0].replace("-", "_") != suite.name
