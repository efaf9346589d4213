"""`lovage stats`: where the time of a model's predictions goes, as a table, through the public API."""

from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli import screen
from app.cli.connection import JSON, Api, show_json, stop
from app.cli.lookups import find_model
from app.domain.phases import PHASES

BAR = 30  # characters of the longest bar


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(rich_help_panel="Models and keys")(stats)


def stats(
    model: Annotated[str, typer.Argument(help="owner/name (its newest version) or owner/name:version.")],
    window: Annotated[str, typer.Option(help="How far back: 15m, 1h, 7d.")] = "1h",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show where the time of a model's latest predictions went."""
    api = Api()
    name, version = find_model(api, model)
    if not version:
        latest = api.models.get(name)["latest_version"]
        if latest is None:
            stop(f"{name} has no versions yet")
        version = latest["id"]
    summary = api.request("GET", f"/v1/models/{name}/versions/{version}/stats", params={"window": window})
    if as_json:
        show_json(summary)
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    console = screen.console()
    since = summary["since"][:19].replace("T", " ")
    console.print(screen.styled(summary["model"], "bold"), f" {summary['version'][:12]}  since {since} UTC")
    if not summary["predictions"]:
        console.print("No predictions have ended in this time. A longer one: --window 7d")
        return
    ended = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items() if count)
    devices = ", ".join(f"{device} ({count})" for device, count in summary["devices"].items())
    console.print(f"{ended}; {summary['per_second']:.3g} a second{'; on ' + devices if devices else ''}")
    if not summary["complete"]:
        console.print(
            "The time asked for holds more predictions than were looked at: this is the latest part of it.",
            style="dim",
        )
    console.print(_phases(summary["seconds"]))
    if summary["batches"]["sizes"]:
        console.print(_batches(summary))
    for code, count in summary["errors"].items():
        console.print(f"failed with {code}: {count}")


def _phases(seconds: dict[str, dict[str, float] | None]) -> Table:
    table = screen.new_table("milliseconds", "p50", "p95", "p99", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in (*PHASES, "total"):
        values = seconds[name]
        shown = ["" if values is None else f"{values[key] * 1000:.1f}" for key in ("p50", "p95", "p99")]
        table.add_row(name, *shown, style="bold" if name == "total" else "", end_section=name == PHASES[-1])
    return table


def _batches(summary: dict[str, Any]) -> Table:
    sizes, padding = summary["batches"]["sizes"], summary["padding"]
    most = max(row["predictions"] for row in sizes)
    table = screen.new_table("batch of", "predictions", "batches", "", caption_justify="left")
    for row in sizes:
        size = str(row["to"]) if row["from"] == row["to"] else f"{row['from']} to {row['to']}"
        bar = "█" * max(1, round(BAR * row["predictions"] / most))
        table.add_row(size, str(row["predictions"]), f"{row['batches']:.0f}", bar)
    table.caption = (
        f"mean {summary['batches']['mean_size']:.1f}; padding {padding['mean']:.1%}, p95 {padding['p95']:.1%}"
    )
    return table
