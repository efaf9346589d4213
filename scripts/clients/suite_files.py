"""The suites: what each says of itself, read without running it, since its packages are not here.

Knows no platform and no environment.
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

SUITES = Path(__file__).parent / "suites"
FIELDS = ("REQUIRES", "CALLS")


@dataclass(frozen=True)
class Suite:
    """One library's file; `requires` are PyPI's packages, or npm's of a file for Node."""

    name: str
    file: Path
    requires: tuple[str, ...]
    calls: tuple[str, ...]

    @property
    def is_for_node(self) -> bool:
        return self.file.suffix == ".mjs"


def read_suite(file: Path) -> Suite:
    """Raises KeyError when the file does not say what it needs and what it calls."""
    text = file.read_text("utf-8")
    said = _comments(text) if file.suffix == ".mjs" else _assignments(text)
    return Suite(file.stem, file, tuple(said["REQUIRES"]), tuple(said["CALLS"]))


def all_suites() -> list[Suite]:
    """In the sequence of their names."""
    files = [*SUITES.glob("[a-z]*.py"), *SUITES.glob("[a-z]*.mjs")]
    return [read_suite(file) for file in sorted(files)]


def _assignments(text: str) -> dict[str, tuple[str, ...]]:
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in FIELDS
    }


def _comments(text: str) -> dict[str, list[str]]:
    """`// REQUIRES = ["ai@7.0.173"]`, JSON on one line."""
    lines = re.findall(r"^// (\w+) = (\[.*\])$", text, re.MULTILINE)
    return {name: json.loads(value) for name, value in lines if name in FIELDS}
