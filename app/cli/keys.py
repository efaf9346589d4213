"""`lovage keys create | ls | rm`, through the public API; needs a key with the scope admin, as `lovage up`
makes one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.cli import screen
from app.cli.connection import EXIT_FAILED, EXIT_USAGE, JSON, Api, show_json, show_outcome, stop


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
    for name, command in (("create", create), ("ls", ls), ("rm", rm)):
        group.command(name)(command)
    app.add_typer(group, name="keys", rich_help_panel="Models and keys")


def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="predict, models, admin. Repeatable; default: predict.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.01, help="Valid for this many days; default: until revoked.")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Make a key. It is shown this once."""
    end = None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    created = Api().keys.create(name, scope or ["predict"], end)
    show_outcome(created, created["key"], as_json)


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List your keys; the keys themselves are not kept."""
    rows = Api().keys.list()
    if as_json:
        show_json(rows)
        return
    table = screen.new_table("id", "name", "begins with", "scopes", "last used", "expires")
    for key in rows:
        times = [(key.get(name) or "never")[:16].replace("T", " ") for name in ("last_used_at", "expires_at")]
        table.add_row(key["id"], key["name"], key["prefix"] + "…", ", ".join(key["scopes"]), *times)
    screen.console().print(table)


def rm(
    key: Annotated[str, typer.Argument(help="Its id or its name, as `lovage keys ls` shows them.")],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Revoke a key."""
    api = Api()
    chosen = [row for row in api.keys.list() if key in (row["id"], row["name"])]
    if len(chosen) > 1:
        ids = ", ".join(row["id"] for row in chosen)
        stop(f"{key}: {len(chosen)} keys have this name: give an id ({ids})", EXIT_USAGE)
    if not chosen:
        stop(f"{key}: none of your keys has this id or name", EXIT_FAILED)
    key_id = chosen[0]["id"]
    api.keys.delete(key_id)
    show_outcome({"revoked": key_id}, f"{key_id} revoked", as_json)
