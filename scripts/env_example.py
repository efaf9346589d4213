"""Writes .env.example from the settings; `--check` only says whether it is up to date."""

import argparse
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from app.settings import Settings

TARGET = Path(__file__).parents[1] / ".env.example"
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


def main() -> int:
    """0: written, or up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when the file is out of date"
    )
    if parser.parse_args().check:
        return 0 if TARGET.is_file() and TARGET.read_text() == text() else 1
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
