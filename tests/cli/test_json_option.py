"""Every command that answers something does so as JSON on request; those that do not are named here."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from app.cli import app

# They run until they are stopped.
SERVING = {"api", "clock", "flower", "mcp", "peer", "serve", "up", "worker", "top", "webhooks listen"}
# What they print is a file's text, a log, or a terminal's own progress.
TEXT = {"config schema", "env init", "logs", "certs init", "models convert", "bench sweep", "bench apply"}
# Their outcome is the exit code, or what they print while they start and stop processes.
SILENT = {"bootstrap", "config check", "down", "migrate"}


def commands(command: Any, context: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Each command's name with its options."""
    if hasattr(command, "list_commands"):
        for below in command.list_commands(context):
            child = command.get_command(context, below)
            yield from commands(child, command.context_class(child, context, below), f"{name} {below}")
        if not command.invoke_without_command or not name:
            return
    yield name.strip(), {option for param in command.params for option in param.opts}


ROOT = typer.main.get_command(app)
ALL = dict(commands(ROOT, ROOT.context_class(ROOT), ""))


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_command_prints_json_or_is_one_that_cannot(name: str) -> None:
    exceptions = SERVING | TEXT | SILENT
    assert ("--json" in ALL[name]) != (name in exceptions)


def test_no_exception_outlives_its_command() -> None:
    assert set(ALL) >= SERVING | TEXT | SILENT
