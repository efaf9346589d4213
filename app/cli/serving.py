"""`lovage route` and `lovage fleet`: where a prediction of a model would go, and what the workers do, through
the public API."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.connection import EXIT_USAGE, JSON, Api, named, show_json, stop
from app.domain.routing import STRATEGIES


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (route, fleet):
        app.command(rich_help_panel="Models and keys")(command)


def route(
    model: Annotated[str, typer.Argument(help="owner/name or owner/name:version.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every live worker with its score.")
    ] = False,
    strategy: Annotated[str, typer.Option(help="Another strategy: " + ", ".join(STRATEGIES) + ".")] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Show which queue a prediction made now would wait in, and why."""
    path, version = named(model)
    if strategy and strategy not in STRATEGIES:
        stop(f"--strategy: must be one of {', '.join(STRATEGIES)}", EXIT_USAGE)
    params = {name: value for name, value in {"version": version, "strategy": strategy}.items() if value}
    found = Api().call("GET", f"/v1/models/{path}/routing", params=params)
    if as_json:
        show_json(found)
        return
    print(f"{found['queue']}  ({found['strategy']})")
    for reason in found["reasons"]:
        print(f"  {reason}")
    if explain and found["candidates"] is None:
        stop("only the model's owner and administrators are told of the workers")
    if explain:
        Console(highlight=False).print(_table(found["candidates"]))


def fleet(as_json: Annotated[bool, JSON] = False) -> None:
    """Show the live workers and the models on them, unhealthy ones with the reason. For administrators."""
    workers = Api().call("GET", "/status")["workers"]
    if workers is None:
        stop("only administrators are told of the workers")
    if as_json:
        show_json(workers)
        return
    if not workers:
        print("No live worker. Start one: lovage worker")
        return
    table = Table("worker", "running", "models")
    for one in workers:
        name = f"{one['device']}@{one['host']}" + ("" if one["queues"] else " (stopping)")
        table.add_row(name, f"{one['running']}/{one['slots']}", "\n".join(map(_model, one["models"])))
    Console(highlight=False).print(table)


def _model(told: dict[str, Any]) -> str:
    line = f"{told['model']} {told['version'][:12]} {told['state']}, {told['bytes'] / 1e6:.0f} MB"
    pinned = ", pinned" if told.get("pinned") else ""
    return (
        line
        + pinned
        + (f": {told['reason']}; tried again in {told['retry_in']:.0f} s" if told.get("reason") else "")
    )


def _table(candidates: list[dict[str, Any]]) -> Table:
    table = Table("worker", "score", "running", "waiting", "loaded", "s/prediction", "reason")
    for one in candidates:
        score = "out" if one["score"] is None else f"{one['score']:.6g}"
        seconds = f"{one['seconds']:.3g}" if one["seconds"] else ""
        loaded = "yes" if one["loaded"] else "no"
        table.add_row(
            one["worker"],
            score,
            f"{one['running']}/{one['slots']}",
            str(one["waiting"]),
            loaded,
            seconds,
            one["reason"],
        )
    return table
