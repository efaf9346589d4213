"""Writes .env.example and the table of docs/reference/settings.md from the settings; `--check` only says
whether they are up to date."""

import argparse
import re
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from app.settings import Settings

ROOT = Path(__file__).parents[1]
TARGET, PAGE = ROOT / ".env.example", ROOT / "docs" / "reference" / "settings.md"
HEAD = """# Every setting of Lovage, with its default. Made by scripts/env_example.py from app/settings.py.
# Copy to .env and change what you need; docker-compose.yml also reads POSTGRES_PASSWORD and REDIS_PASSWORD.

POSTGRES_PASSWORD=
REDIS_PASSWORD=
"""


def shown(value: object) -> str:
    """A default as it is written in an environment file."""
    if value is None or value is PydanticUndefined:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def text() -> str:
    """The whole file."""
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        lines.append(f"# {field.description}\n{name.upper()}={shown(field.default)}\n")
    return "\n".join(lines)


def table() -> str:
    """The rows of the page."""
    rows = [
        f"| `{name.upper()}` | {quoted(shown(field.default))} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return "".join(rows)


def quoted(default: str) -> str:
    """A default as it stands in the table."""
    return f"`{default}`" if default else ""


def page() -> str:
    """The page with its table as it should be; the text around it is written by hand."""
    return re.sub(r"(?:^\| `[A-Z0-9_]+` \|.*\n)+", lambda _: table(), PAGE.read_text(), count=1, flags=re.M)


def main() -> int:
    """0: written, or up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the file is out of date"
    )
    if parser.parse_args().check:
        return 0 if TARGET.read_text() == text() and PAGE.read_text() == page() else 1
    TARGET.write_text(text())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
