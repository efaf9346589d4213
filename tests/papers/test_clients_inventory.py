"""Every documented operation is called by a client of another maker in `make clients`, or there is a named
reason why not; the packages are pinned."""

import json
import re
from pathlib import Path

from scripts.clients.inventory import NO_CLIENT, reason_for
from scripts.clients.suite_files import all_suites

ROOT = Path(__file__).parents[2]
FOREIGN = ("openai.", "anthropic.", "ollama.")
PINNED = {".py": r"[\w-]+(\[\w+\])?==[\d.]+", ".mjs": r"@?[\w/-]+@[\d.]+"}


def operations() -> set[str]:
    paths = json.loads((ROOT / "openapi.json").read_text("utf-8"))["paths"].values()
    return {operation["operationId"] for methods in paths for operation in methods.values()}


def test_every_operation_has_a_client_that_calls_it_or_a_reason_why_not() -> None:
    called = {name for suite in all_suites() for name in suite.calls}
    missing = {name for name in operations() - called if reason_for(name) is None}
    assert missing == set(), "a suite of scripts/clients/suites must call it"
    assert called - operations() == set(), "there is no such operation"


def test_an_operation_of_another_platform_has_a_client_and_no_excuse() -> None:
    assert [name for name in operations() if name.startswith(FOREIGN) and reason_for(name)] == []


def test_no_reason_is_left_over() -> None:
    called = {name for suite in all_suites() for name in suite.calls}
    uncalled = operations() - called
    for name in NO_CLIENT:
        assert any(each.startswith(name) if name.endswith(".") else each == name for each in uncalled), name


def test_packages_are_pinned_and_no_suite_has_the_name_of_one() -> None:
    suites = all_suites()
    assert len(suites) >= 4
    for suite in suites:
        for needed in suite.requires:
            assert re.fullmatch(PINNED[suite.file.suffix], needed), (suite.name, needed)
            if suite.file.suffix == ".py":
                assert needed.partition("=")[0].partition("[")[0].replace("-", "_") != suite.name
