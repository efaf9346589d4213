"""Writes .env.example, the table of docs/reference/settings.md and the schema of a deployment's file from the
settings; `--check` only says whether they are up to date."""

import argparse
import json
import re
import sys
from pathlib import Path

from app.cli.deployment_schema import deployment_schema
from app.cli.env_template import env_text
from app.settings import Settings, shown_default

ROOT = Path(__file__).parents[1]
TARGET, PAGE = ROOT / ".env.example", ROOT / "docs" / "reference" / "settings.md"

SCHEMA = ROOT / "docs" / "reference" / "deployment.schema.json"


def schema() -> str:
    """The schema's file."""
    return json.dumps(deployment_schema(), indent=2, ensure_ascii=False) + "\n"


def table() -> str:
    """The rows of the page."""
    rows = [
        f"| `{name.upper()}` | {quoted(shown_default(field.default))} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return "".join(rows)


def quoted(default: str) -> str:
    """A default as it stands in the table."""
    return f"`{default}`" if default else ""


def page() -> str:
    """The page with its table as it should be; the text around it is written by hand."""
    head, title, rest = PAGE.read_text().partition("| variable | default | what it does |\n|---|---|---|\n")
    return head + title + re.sub(r"\A(?:\|.*\n)+", lambda _: table(), rest)


def main() -> int:
    """0: written, or up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the file is out of date"
    )
    if parser.parse_args().check:
        files = {TARGET: env_text(), PAGE: page(), SCHEMA: schema()}
        return 0 if all(path.read_text() == text for path, text in files.items()) else 1
    TARGET.write_text(env_text())
    PAGE.write_text(page())
    SCHEMA.write_text(schema())
    return 0


if __name__ == "__main__":
    sys.exit(main())
