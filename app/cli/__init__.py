"""`lovage …`: the command line. Starts processes, and talks to a running platform through its public API
only."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.cli import (
    account,
    administration,
    backends,
    backup,
    certs,
    client_commands,
    config,
    deployment,
    discover,
    keys,
    logs,
    mcp,
    models,
    peers,
    platform,
    prediction_lists,
    processes,
    queues,
    screen,
    serving,
    stats,
    top,
)
from app.cli.connection import ApiError, stop
from app.domain.errors import LovageError
from app.setting_sources import WrongSource
from app.settings import find

# Commands whose modules take long to import: they are, when one of them is called or all are listed.
IMPORTED_LATE = {"bench": "app.cli.bench"}

# What `lovage` without its server lacks: of requirements/api.txt, what commands that need it import first.
OF_THE_SERVER = frozenset(
    {
        "alembic",
        "celery",
        "cryptography",
        "fastapi",
        "psycopg2",
        "redis",
        "sqlalchemy",
        "structlog",
        "uvicorn",
    }
)
INSTALL = "pip install 'lovage[server]', or 'lovage[all]' for a whole machine"


class Commands(typer.core.TyperGroup):
    """The commands of `lovage`, with those that are imported late."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help page."""
        return [*super().list_commands(ctx), *IMPORTED_LATE]

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; a refusal that it does not handle itself ends it with the sentence."""
        try:
            return super().invoke(ctx)
        except ApiError as error:
            stop(str(error), error.code)
        except ModuleNotFoundError as error:
            module = (error.name or "").partition(".")[0]
            if module not in OF_THE_SERVER:
                raise
            stop(f"{module} is not installed; only the client is. The platform itself: {INSTALL}")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None."""
        if cmd_name not in IMPORTED_LATE:
            return super().get_command(ctx, cmd_name)
        holder = typer.Typer()
        import_module(IMPORTED_LATE[cmd_name]).add_to(holder)
        return typer.main.get_group(holder).commands[cmd_name]


app = typer.Typer(
    name="lovage",
    cls=Commands,
    help=(
        "Lovage: run machine-learning models behind a prediction API. Which platform: LOVAGE_URL and"
        " LOVAGE_TOKEN, or what `lovage up` started on LOVAGE_DATA_DIR (.lovage)."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
platform.add_to(app)
client_commands.add_to(app)
prediction_lists.add_to(app)
models.add_to(app)
deployment.add_to(app)
discover.add_to(app)
serving.add_to(app)
keys.add_to(app)
account.add_to(app)
administration.add_to(app)
backends.add_to(app)
peers.add_to(app)
mcp.add_to(app)
stats.add_to(app)
processes.add_to(app)
queues.add_to(app)
top.add_to(app)
logs.add_to(app)
backup.add_to(app)
config.add_to(app)
certs.add_to(app)

EXIT_USAGE = 2


def _show_version(is_asked_for: bool) -> None:
    if is_asked_for:
        print(f"lovage {version('lovage')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `lovage` itself."""


def main() -> None:
    """Runs the command line; every expected failure is one sentence and an exit code, never a trace."""
    try:
        prepare_environment()
        app()
    except ValidationError as error:
        for problem in error.errors():
            print(f"lovage: {screen.visible(config.sentence_of(problem))}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except WrongSource as error:
        print(f"lovage: {screen.visible(str(error))}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except LovageError as error:
        print(f"lovage: {screen.visible(error.detail.strip())}", file=sys.stderr)
        sys.exit(1)


def prepare_environment() -> None:
    """Says what looks like a mistake among the settings' names, and lets libraries see what .env holds for
    them."""
    sources = find()
    for warning in sources.warnings:
        print(f"lovage: {screen.visible(warning)}", file=sys.stderr)
    for name, text in sources.foreign.items():
        os.environ.setdefault(name, text)
