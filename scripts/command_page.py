"""Writes docs/reference/commands.md from the command line's own help; `--check` only says whether it is up to
date."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from app.cli import app

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
HEAD = """# Commands

Every `lovage` command, from its own help; `lovage COMMAND --help` has the arguments. Commands that speak to a
platform find it by `LOVAGE_URL` and `LOVAGE_TOKEN`, or by what `lovage up` started on `LOVAGE_DATA_DIR`
(`.lovage`). `--json` prints what the API answered, of acts as well. `lovage --install-completion` has your
shell complete commands.

| exit code | means |
|---|---|
| 0 | done; of `run` and `watch`: the prediction succeeded |
| 1 | the platform refused, the prediction failed, a check found something |
| 2 | the command line or a setting is wrong |
| 3 | the platform does not answer |
| 4 | the prediction was canceled; of `bench`: it was interrupted |
| 130 | `lovage up` was interrupted on its way up |

| command | what it does | options |
|---|---|---|
"""


def rows(command: Any, context: Any, name: str) -> Iterator[str]:
    """A row of each command below and including this one. Typer has click's classes, which it does not
    share."""
    if hasattr(command, "list_commands"):
        for below in sorted(command.list_commands(context)):
            child = command.get_command(context, below)
            yield from rows(child, command.context_class(child, context, below), f"{name} {below}")
        if not command.invoke_without_command or name == "lovage":
            return
    kinds = {"option": "", "argument": ""}
    for param in command.params:
        shown = param.opts[0] if param.param_type_name == "option" else str(param.name).upper()
        kinds[param.param_type_name] += f" `{shown}`" if param.param_type_name == "option" else f" {shown}"
    text = " ".join((command.help or "").split()).replace("|", "\\|")
    yield f"| `{name}{kinds['argument']}` | {text} | {kinds['option'].strip()} |\n"


def page() -> str:
    """As it is committed."""
    command = typer.main.get_command(app)
    return HEAD + "".join(rows(command, command.context_class(command), "lovage"))


def main() -> int:
    """0: written, or up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        return 0 if TARGET.exists() and TARGET.read_text() == page() else 1
    TARGET.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
