"""`lovage account …` and `lovage webhooks …`: one's own password, tokens and secrets, through the public API.

What changes a credential needs more than a key for predictions: where the key has not the scope admin, the
password is asked for, and a token made with it.
"""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

import typer

from app.cli import deliveries, screen
from app.cli.connection import JSON, Api, show_json, show_outcome

PANEL = "Models and keys"


def add_to(app: typer.Typer) -> None:
    """Registers the groups."""
    account = typer.Typer(help="Show your account, change its password, sign out.", no_args_is_help=True)
    own: dict[str, Callable[..., None]] = {"show": show, "password": password}
    own |= {"sign-out": sign_out, "file-key": file_key}
    for name, command in own.items():
        account.command(name)(command)
    app.add_typer(account, name="account", rich_help_panel=PANEL)
    webhooks = typer.Typer(
        help="See deliveries, send them again, receive them here, replace the secret that signs them.",
        no_args_is_help=True,
    )
    webhooks.command("secret")(secret)
    webhooks.command("rotate-secret")(rotate_secret)
    deliveries.add_to(webhooks)
    app.add_typer(webhooks, name="webhooks", rich_help_panel=PANEL)


def show(as_json: Annotated[bool, JSON] = False) -> None:
    """Show whose key is used, and what it may."""
    account = Api().request("GET", "/v1/account")
    if as_json:
        show_json(account)
        return
    rank = ", an administrator" if account["is_admin"] else ""
    console = screen.console()
    console.print(f"{account['username']} ({account['email']}){rank}")
    console.print(f"scopes: {', '.join(account['scopes'])}")


def password(as_json: Annotated[bool, JSON] = False) -> None:
    """Change your password. Ends all tokens; keys stay."""
    api = Api()
    current = typer.prompt("Current password", hide_input=True, err=True)
    new = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    body = {"current_password": current, "new_password": new}
    api.request("PUT", "/v1/account/password", json=body, headers=_sign_in(api, current))
    show_outcome({"changed": True}, "password changed", as_json)


def sign_out(
    keys: Annotated[
        bool, typer.Option("--keys", help="End your API keys, too, the one in use as well.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """End all tokens of your account, wherever they are."""
    api = Api()
    headers = _headers_to_manage(api)
    api.request("POST", "/v1/account/sign-out", json={"revoke_keys": keys}, headers=headers)
    show_outcome({"signed_out": True, "keys_revoked": keys}, "signed out everywhere", as_json)


def file_key(
    rotate: Annotated[bool, typer.Option("--rotate", help="Replace it: all links end at once.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show the key that signs links to your uploaded files."""
    api = Api()
    if rotate:
        answer = api.request("POST", "/v1/account/file-key/rotate", headers=_headers_to_manage(api))
    else:
        answer = api.request("GET", "/v1/account/file-key")
    show_outcome(answer, answer["key"], as_json)


def secret(as_json: Annotated[bool, JSON] = False) -> None:
    """Show the secret that signs your webhooks, and the one before it while that is valid."""
    _show_secrets(Api().webhooks.secrets(), as_json)


def rotate_secret(
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24, help="The old one stays valid for so long; 0: it ends at once.")
    ] = 24,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Replace the secret that signs your webhooks."""
    api = Api()
    body, headers = {"overlap_hours": overlap_hours}, _headers_to_manage(api)
    answer = api.request("POST", "/v1/webhooks/default/secret/rotate", json=body, headers=headers)
    _show_secrets(answer, as_json)


def _show_secrets(secrets: dict[str, str], as_json: bool) -> None:
    if as_json:
        show_json(secrets)
        return
    print(secrets["key"])
    if "previous_key" in secrets:
        until = secrets["previous_key_expires_at"][:16].replace("T", " ")
        print(f"{secrets['previous_key']}  (the one before, valid until {until} UTC)")


def _headers_to_manage(api: Api) -> dict[str, str]:
    """With which credentials may be changed: none beside the key's own, or those of a token that the password
    gives."""
    if "admin" in api.request("GET", "/v1/account")["scopes"]:
        return {}
    return _sign_in(api, typer.prompt("Password", hide_input=True, err=True))


def _sign_in(api: Api, password: str) -> dict[str, str]:
    username = api.request("GET", "/v1/account")["username"]
    form = urlencode({"username": username, "password": password}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = api.request("POST", "/v1/auth/token", content=form, headers=headers)
    return {"Authorization": f"Bearer {answer['access_token']}"}
