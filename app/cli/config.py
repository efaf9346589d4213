"""`lovage config show | check` and `lovage env init`: the settings of this folder and environment, and a new
.env."""

import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app import settings
from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, show_json, stop
from app.cli.env_template import PROFILES, env_text
from app.local.composition import UpOptions, up_defaults
from app.local.secret_file import write_private
from app.setting_sources import DEFAULT
from app.setting_types import ShownSetting
from app.settings import describe, find, load, load_with, use_deployment

PANEL = "Administration"
UP = typer.Option("--up", help="As `lovage up` has them, which sets some itself.")
SECRET_BYTES, PASSWORD_BYTES = 32, 18


def add_to(app: typer.Typer) -> None:
    """Registers the groups."""
    group = typer.Typer(help="Show and check the settings.", no_args_is_help=True)
    group.command("show")(show)
    group.command("check")(check)
    group.command("schema")(schema)
    app.add_typer(group, name="config", rich_help_panel=PANEL)
    env = typer.Typer(help="Make a .env.", no_args_is_help=True)
    env.callback()(_env)
    env.command("init")(init)
    app.add_typer(env, name="env", rich_help_panel=PANEL)


def show(
    names: Annotated[list[str] | None, typer.Argument(help="Only these.", show_default=False)] = None,
    is_set: Annotated[bool, typer.Option("--set", help="Only those that are set.")] = False,
    up: Annotated[bool, UP] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show every setting with its value, where that comes from, and what it means. Secrets are masked."""
    rows = _named(describe(_defaults(up), "lovage up"), [name.upper() for name in names or []])
    rows = [setting for setting in rows if setting.origin != DEFAULT] if is_set else rows
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    table = screen.new_table("name", "value", "from", "meaning")
    for row in rows:
        table.add_row(row.name, row.value, row.origin, row.description)
    screen.console().print(table)


def _named(shown: list[ShownSetting], names: list[str]) -> list[ShownSetting]:
    if unknown := set(names) - {setting.name for setting in shown}:
        stop(f"{min(unknown)}: is not a setting; `lovage config show` lists them all", EXIT_USAGE)
    return [setting for setting in shown if setting.name in names] if names else shown


def check(
    file: Annotated[Path | None, typer.Argument(help="A deployment's file, too.", show_default=False)] = None,
    up: Annotated[bool, UP] = False,
) -> None:
    """Check every setting, those of a deployment's file as well. Exit code 2 when a process would refuse to
    start with them."""
    if file:
        use_deployment(file)
    if up:
        load_with({**up_defaults(UpOptions(Path())), "SECRET_KEY": secrets.token_hex(SECRET_BYTES)})
    else:
        load()
    count = len(find().settings)
    print(f"{count} setting{'' if count == 1 else 's'} set, all of them accepted")


def schema() -> None:
    """Print the JSON Schema of a deployment's file, for editors."""
    from app.cli.deployment_schema import deployment_schema

    show_json(deployment_schema())


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(".env"),
    printed: Annotated[bool, typer.Option("--print", help="Print it instead.")] = False,
    profiles: Annotated[
        str,
        typer.Option(help=f"What `docker compose up` runs beside the platform: {', '.join(PROFILES)}."),
    ] = "cpu",
) -> None:
    """Write a .env with fresh secrets and every setting with its default, to be changed. Leaves one that is
    there alone."""
    chosen = [name.strip() for name in profiles.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in PROFILES]:
        stop(f"--profiles: there is no {unknown[0]}; there are {', '.join(PROFILES)}", EXIT_USAGE)
    own_store = _own_store() if "s3" in chosen else {}
    text = env_text({**_fresh_secrets(), **own_store, "COMPOSE_PROFILES": ",".join(chosen)})
    if printed:
        print(text, end="")
        return
    if path.exists():
        stop(f"{path}: is there already; `lovage env init --print` shows a new one", EXIT_USAGE)
    write_private(path, text)
    print(f"{path} written, for your eyes only. `lovage up` and `docker compose up` read it.")


def sentence_of(problem: Any) -> str:
    """One error of pydantic's, with the variable's name and where its value stands."""
    name = ".".join(map(str, problem["loc"])).upper()
    message = problem["msg"].removeprefix("Value error, ")
    if not name:
        return str(message)
    sourced = settings.find().settings.get(name)
    return f"{name}{f' ({sourced.origin})' if sourced else ''}: {message}"


def _defaults(up: bool) -> dict[str, str]:
    if not up:
        return {}
    try:
        host = load_with({"LOVAGE_ENV": "development"}).api_host
    except ValidationError:  # shown all the same: `lovage config check` says what is wrong
        host = ""
    return up_defaults(UpOptions(Path(), host or "127.0.0.1"))


def _fresh_secrets() -> dict[str, str]:
    return {
        "SECRET_KEY": secrets.token_hex(SECRET_BYTES),
        "POSTGRES_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
        "REDIS_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
        "FLOWER_BASIC_AUTH": f"lovage:{secrets.token_urlsafe(PASSWORD_BYTES)}",
        "METRICS_TOKEN": secrets.token_hex(PASSWORD_BYTES),
        "CONTAINER_GRAFANA_PASSWORD": secrets.token_urlsafe(PASSWORD_BYTES),
    }


def _own_store() -> dict[str, str]:
    """The compose file's S3-compatible store, as the containers reach it and as callers do."""
    return {
        "STORAGE": "s3",
        "S3_BUCKET": "lovage",
        "S3_ENDPOINT_URL": "http://s3:9000",
        "S3_PUBLIC_URL": "https://localhost:9000",
        "S3_ACCESS_KEY_ID": secrets.token_hex(PASSWORD_BYTES // 2),
        "S3_SECRET_ACCESS_KEY": secrets.token_urlsafe(SECRET_BYTES),
    }


def _env() -> None:
    """The file .env, which every command and the containers read."""
