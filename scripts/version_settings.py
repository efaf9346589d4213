"""Writes docs/reference/version-settings.md from the table of version settings and the built-in runtimes'
specs; `--check` only says whether it is up to date."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from app.domain.version_settings import CALLER, DEPLOYMENT, OPERATOR, OWNER, RUNTIME, SETTINGS, VersionSetting
from app.runtimes import registry
from app.runtimes.base import RuntimeSpec

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "version-settings.md"
HEAD = """# The settings of a version

Made by scripts/version_settings.py from app/domain/version_settings.py and the built-in runtimes' specs.

A version's `config` holds what is set for it alone: `POST /v1/models/{owner}/{name}/versions` with
`"config": {"max_batch_size": 16}`, or `lovage models add … --config '{…}'`. Every key is checked when the
version is made, and one that nothing would read is refused by name. A version never changes; other settings
are another version.

| setting | values | default | who may set it | read by | what it does |
|---|---|---|---|---|---|
"""
OWN = """
## The runtimes' own

| runtime | setting | values | what it does |
|---|---|---|---|
"""
SET_BY = {
    OWNER: "the version's owner",
    DEPLOYMENT: "a deployment's owner (`hardware`)",
    CALLER: "a prediction's caller (`timeout`)",
    OPERATOR: "the operator",
}


def values(schema: dict[str, Any]) -> str:
    """What a schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(values(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "properties" in schema:
        return "object of " + ", ".join(f"`{name}`" for name in schema["properties"])
    if schema["type"] in ("integer", "number"):
        kind = "whole number" if schema["type"] == "integer" else "number"
        return f"{kind}, {schema['minimum']:,} to {schema['maximum']:,}"
    if schema["type"] == "object":
        return "object"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    return f"text of at most {schema['maxLength']:,} characters"


def default(setting: VersionSetting) -> str:
    """What counts where the key is absent."""
    if setting.default is None:
        return f"`{setting.platform_setting.upper()}`"
    return f"`{json.dumps(setting.default)}`".replace('"', "")


def setters(setting: VersionSetting) -> str:
    """Who may set it, the operator with the name of the setting."""
    names = [SET_BY[who] for who in setting.set_by]
    if setting.platform_setting:
        names[-1] += f" (`{setting.platform_setting.upper()}`)"
    if setting.reserved:
        names[0] += f"; {setting.reserved.values} for administrators only"
    return "; ".join(names)


def readers(setting: VersionSetting, specs: list[RuntimeSpec]) -> str:
    """The part of the platform, or the built-in runtimes, that read it."""
    if setting.read_by != RUNTIME:
        return f"{setting.read_by}, for every runtime"
    return ", ".join(f"`{spec.name}`" for spec in specs if setting.name in spec.reads)


def text() -> str:
    """The whole page."""
    specs = [registry.find(name).spec for name in registry.BUILT_IN]
    lines = [HEAD]
    for setting in SETTINGS.values():
        cells = (values(setting.schema), default(setting), setters(setting), readers(setting, specs))
        lines.append(f"| `{setting.name}` | {' | '.join(cells)} | {setting.description} |\n")
    lines.append(OWN)
    for spec in specs:
        for name, schema in spec.config.items():
            lines.append(f"| `{spec.name}` | `{name}` | {values(schema)} | {schema['description']} |\n")
    return "".join(lines)


def main() -> int:
    """0: written, or up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the page is out of date"
    )
    if parser.parse_args().check:
        return 0 if TARGET.is_file() and TARGET.read_text() == text() else 1
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
