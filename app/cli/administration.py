"""`lovage users …` and `lovage audit`, for administrators, through the public API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import screen
from app.cli.connection import JSON, Api, show_json, show_outcome

PANEL = "Administration"


class Band(StrEnum):
    """The priorities, as the command line takes them."""

    INTERACTIVE = "interactive"
    DEFAULT = "default"
    BATCH = "batch"


REVOKE = typer.Option("--keys", help="End the API keys, too.")


def add_to(app: typer.Typer) -> None:
    """Registers the group and the command."""
    group = typer.Typer(help="List, create, promote, disable and delete users.", no_args_is_help=True)
    group.command("ls")(ls)
    group.command("add")(add)
    for name, command in (("promote", promote), ("demote", demote), ("disable", disable), ("enable", enable)):
        group.command(name)(command)
    group.command("reset-password")(reset_password)
    group.command("sign-out")(sign_out)
    group.command("cancel")(cancel)
    group.command("share")(share)
    group.command("rm")(rm)
    app.add_typer(group, name="users", rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(audit)


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List everybody who has an account."""
    users = Api().every("/v1/users")
    if as_json:
        show_json(users)
        return
    table = screen.new_table("username", "email", "admin", "created", "disabled")
    for user in users:
        times = [(user[name] or "")[:16].replace("T", " ") for name in ("created_at", "disabled_at")]
        table.add_row(user["username"], user["email"], "yes" if user["is_admin"] else "", *times)
    screen.console().print(table)


def add(
    username: Annotated[str, typer.Argument(help="Also the owner in the names of the user's models.")],
    email: Annotated[str, typer.Argument(help="Of the user; it signs in, too.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make the user an administrator.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Create a user with a random password, which is shown this once."""
    user = Api().request("POST", "/v1/users", json={"username": username, "email": email, "is_admin": admin})
    if as_json:
        show_json(user)
        return
    print(f"{user['username']} created{', an administrator' if user['is_admin'] else ''}")
    print(f"password: {user['password']}")


def promote(username: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Make a user an administrator."""
    user = _change(username, is_admin=True)
    show_outcome(user, f"{username} is an administrator", as_json)


def demote(username: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Make an administrator an ordinary user. The last one stays."""
    user = _change(username, is_admin=False)
    show_outcome(user, f"{username} is no administrator", as_json)


def disable(username: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Refuse a user's tokens and keys from now on, and cancel what waits. Nothing of theirs is removed."""
    show_outcome(_change(username, disabled=True), f"{username} disabled", as_json)


def enable(username: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Let a disabled user in again."""
    show_outcome(_change(username, disabled=False), f"{username} enabled", as_json)


def reset_password(
    username: str, keys: Annotated[bool, REVOKE] = False, as_json: Annotated[bool, JSON] = False
) -> None:
    """Give a user a random password, which is shown this once, and end all tokens."""
    user = Api().request("PUT", f"{_path(username)}/password", json={"revoke_keys": keys})
    show_outcome(user, f"password: {user['password']}", as_json)


def sign_out(
    username: str, keys: Annotated[bool, REVOKE] = False, as_json: Annotated[bool, JSON] = False
) -> None:
    """End all tokens of a user."""
    Api().request("POST", f"{_path(username)}/sign-out", json={"revoke_keys": keys})
    outcome = {"username": username, "signed_out": True, "keys_revoked": keys}
    show_outcome(outcome, f"{username} signed out everywhere", as_json)


def cancel(username: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Cancel all that a user has waiting and running."""
    done = Api().request("POST", f"{_path(username)}/cancel")
    if as_json:
        show_json(done)
        return
    print(f"{done['canceled']} predictions of {username} canceled")
    if not done["is_done"]:
        print("more wait: they are canceled in the next minutes")


def share(
    username: str,
    weight: Annotated[
        float | None, typer.Option(min=0.01, max=100, help="Of the user's share of every worker; usually 1.")
    ] = None,
    priority: Annotated[
        Band | None, typer.Option(help="The highest priority that the user may ask for.")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Set how much of the workers a user is given beside others, and the highest priority to ask for."""
    changes = {"weight": weight, "highest_priority": priority.value if priority else None}
    body = {name: value for name, value in changes.items() if value is not None}
    if not body:
        raise typer.BadParameter("give --weight, --priority or both")
    user = Api().request("PATCH", _path(username), json=body)
    sentence = f"{username}: weight {user['weight']:g}, highest priority {user['highest_priority']}"
    show_outcome(user, sentence, as_json)


def rm(
    username: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Delete a user for good, with models, files and the data of predictions. The name stays taken."""
    question = f"Delete {username} with all models, files and data of predictions, for good?"
    if not yes:
        typer.confirm(question, abort=True, err=True)
    Api().request("DELETE", _path(username))
    show_outcome({"deleted": username}, f"{username} deleted", as_json)


def audit(
    action: Annotated[
        str, typer.Option(help="Only this, e.g. login.failed, key.created, user.disabled.")
    ] = "",
    user: Annotated[str, typer.Option(help="Only what this user did.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Only from this time on (UTC).")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=10_000, help="At most this many.")] = 50,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show who did what to accounts, keys, models and files, newest first."""
    filters = {"action": action, "username": user, "since": since.isoformat() if since else ""}
    entries = Api().every("/v1/audit", {name: value for name, value in filters.items() if value}, most=limit)
    if as_json:
        show_json(entries)
        return
    table = screen.new_table("at", "action", "user", "target", "address", "details")
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
    screen.console().print(table)


def _path(username: str) -> str:
    return f"/v1/users/{quote(username, safe='')}"


def _change(username: str, **changes: Any) -> Any:
    return Api().request("PATCH", _path(username), json=changes)
