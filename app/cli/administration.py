"""`lovage users ls | disable | enable` and `lovage audit`, for administrators, through the public API."""

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from app.cli.connection import JSON, Api, show_json

PANEL = "Administration"


def add_to(app: typer.Typer) -> None:
    """Registers the group and the command."""
    group = typer.Typer(help="List, disable and enable users.", no_args_is_help=True)
    for name, command in (("ls", ls), ("disable", disable), ("enable", enable)):
        group.command(name)(command)
    app.add_typer(group, name="users", rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(audit)


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List everybody who has an account."""
    users = Api().every("/v1/users")
    if as_json:
        show_json(users)
        return
    table = Table("username", "email", "admin", "created", "disabled")
    for user in users:
        times = [(user[name] or "")[:16].replace("T", " ") for name in ("created_at", "disabled_at")]
        table.add_row(user["username"], user["email"], "yes" if user["is_admin"] else "", *times)
    Console(highlight=False).print(table)


def disable(username: str) -> None:
    """Refuse a user's tokens and keys from now on. Nothing of theirs is removed."""
    _set_disabled(username, True)
    print(f"{username} disabled")


def enable(username: str) -> None:
    """Let a disabled user in again."""
    _set_disabled(username, False)
    print(f"{username} enabled")


def audit(
    action: Annotated[
        str, typer.Option(help="Only this, e.g. login.failed, key.created, user.disabled.")
    ] = "",
    user: Annotated[str, typer.Option(help="Only what this user did.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Only from this time on (UTC).")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=10_000, help="At most this many.")] = 50,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show who did what to accounts, keys and models, newest first."""
    filters = {"action": action, "username": user, "since": since.isoformat() if since else ""}
    entries = Api().every("/v1/audit", {name: value for name, value in filters.items() if value}, most=limit)
    if as_json:
        show_json(entries)
        return
    table = Table("at", "action", "user", "target", "address", "details")
    for entry in entries:
        details = " ".join(f"{name}={value}" for name, value in entry["details"].items())
        table.add_row(
            entry["at"][:19].replace("T", " "),
            entry["action"],
            entry["username"],
            entry["target"],
            entry["address"],
            details,
        )
    Console(highlight=False).print(table)


def _set_disabled(username: str, disabled: bool) -> None:
    Api().call("PATCH", f"/v1/users/{quote(username, safe='')}", json={"disabled": disabled})
