"""Writes .env.example and the table of docs/reference/settings.md from the settings; `--check` only says
whether they are up to date."""

import argparse
import re
import sys
from pathlib import Path

from app.cli.env_template import env_text
from app.settings import Settings, shown_default

ROOT = Path(__file__).parents[1]
TARGET, PAGE = ROOT / ".env.example", ROOT / "docs" / "reference" / "settings.md"


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
        return 0 if TARGET.read_text() == env_text() and PAGE.read_text() == page() else 1
    TARGET.write_text(env_text())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
