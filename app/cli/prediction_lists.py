"""`lovage ls` and `requeue`: lists of predictions, and what administrators do with anybody's."""

import time
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import typer

from app.cli import screen
from app.cli.connection import JSON, Api, show_json, show_outcome
from app.cli.lookups import find_prediction

PANEL = "Predictions"
NONE_YET = "No predictions yet. Make one: lovage run demo/echo -i text=hello"
NOTHING = "No prediction is like that."
LOOK_SECONDS = 10.0  # a list that must look through many goes on from page to page for so long


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command(rich_help_panel=PANEL)(ls)
    app.command(rich_help_panel="Administration")(requeue)


def ls(
    limit: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many.")] = 20,
    status: Annotated[
        str | None, typer.Option(help="Only starting, processing, succeeded, failed or canceled ones.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only of this owner/name.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version, by its whole id.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Only of this deployment, owner/name.")] = None,
    source: Annotated[str | None, typer.Option(help="Only from here: api, web …")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only failures with this code.")] = None,
    text: Annotated[str | None, typer.Option(help="Only with this in id, input, output or error.")] = None,
    since: Annotated[str | None, typer.Option(help="Only from this time on: 2026-11-27, 15m, 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="Only from before this time.")] = None,
    user: Annotated[str | None, typer.Option(help="Administrators: somebody's; '*' for everybody's.")] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """List your predictions, newest first; as an administrator, anybody's."""
    filters = {
        "status": status,
        "model": model,
        "version": version,
        "deployment": deployment,
        "source": source,
        "error_code": error_code,
        "text": text,
        "since": since,
        "until": until,
        "user": user,
    }
    rows, is_whole = _look(Api(), {name: value for name, value in filters.items() if value}, limit)
    if as_json:
        show_json(rows)
    else:
        _print(rows, NOTHING if any(filters.values()) else NONE_YET)
    if not is_whole:
        screen.console(stderr=True).print(
            f"Stopped looking after {LOOK_SECONDS:.0f} s: narrow it by --since."
        )


def _look(api: Api, filters: dict[str, str], limit: int) -> tuple[list[dict[str, Any]], bool]:
    """At most `limit` rows, and whether that is all there is of what was asked for."""
    rows: list[dict[str, Any]] = []
    params: dict[str, Any] = {**filters, "limit": min(limit, 100)}
    until = time.monotonic() + LOOK_SECONDS
    while True:
        page = api.request("GET", "/v1/predictions", params=params)
        rows += page["results"]
        if len(rows) >= limit or not page["next"]:
            return rows[:limit], True
        if time.monotonic() > until:
            return rows, False
        # Its query only: the host is what PUBLIC_URL says, and no other host may get our key.
        params = dict(parse_qsl(urlsplit(page["next"]).query))


def _print(rows: list[dict[str, Any]], otherwise: str) -> None:
    if not rows:
        print(otherwise)
        return
    with_user = ["user"] if "user" in rows[0] else []
    table = screen.new_table("id", "model", "status", "created", "seconds", *with_user)
    for row in rows:
        seconds = row["metrics"].get("total_time")
        table.add_row(
            row["id"],
            row["model"],
            row["status"],
            row["created_at"][:19].replace("T", " "),
            f"{seconds:.2f}" if seconds else "",
            *[row["user"] for _ in with_user],
        )
    screen.console().print(table)


def requeue(
    prediction: Annotated[str, typer.Argument(help="Its id.")], as_json: Annotated[bool, JSON] = False
) -> None:
    """Have anybody's prediction begin again: one that runs is taken from its worker and waits, one that waits
    is published to the workers again."""
    api = Api()
    details = api.request("POST", f"/v1/predictions/{find_prediction(api, prediction)}/requeue")
    show_outcome(details, f"{details['id']}: {details['status']}", as_json)
