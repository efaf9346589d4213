"""`lovage route` and `lovage fleet`: where a prediction of a model would go, and what the workers do, through
the public API."""

from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, Api, show_json, stop
from app.cli.lookups import find_model
from app.domain.queue_names import BACKENDS, device_class
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
    if strategy and strategy not in STRATEGIES:
        stop(f"--strategy: must be one of {', '.join(STRATEGIES)}", EXIT_USAGE)
    api = Api()
    path, version = find_model(api, model)
    params = {name: value for name, value in {"version": version, "strategy": strategy}.items() if value}
    routing = api.request("GET", f"/v1/models/{path}/routing", params=params)
    if as_json:
        show_json(routing)
        return
    print(f"{routing['queue']}  ({routing['strategy']})")
    for reason in routing["reasons"]:
        print(f"  {reason}")
    if explain and routing["candidates"] is None:
        stop("only the model's owner and administrators may see the workers")
    if explain:
        screen.console().print(_table(routing["candidates"]))
    if explain and device_class(routing["queue"]) == BACKENDS:
        screen.console().print(_backends(api, f"{path}:{version}" if version else path))


def _backends(api: Api, model: str) -> Table:
    """The backends of a version, with their scores."""
    selection = api.request("GET", "/v1/backends/select", params={"model": model})
    table = screen.new_table("backend", "model there", "state", "score", f"by {selection['strategy']}")
    for each in selection["candidates"]:
        score = "" if each["score"] is None else f"{each['score']:.3g}"
        table.add_row(each["backend"], each["model"], each["state"], score, each["reason"])
    return table


def fleet(as_json: Annotated[bool, JSON] = False) -> None:
    """Show the live workers and the models on them, unhealthy ones with the reason. For administrators."""
    workers = Api().request("GET", "/status")["workers"]
    if workers is None:
        stop("only administrators may see the workers")
    if as_json:
        show_json(workers)
        return
    if not workers:
        print("No live worker. Start one: lovage worker")
        return
    table = screen.new_table("worker", "running", "models")
    for worker in workers:
        name = f"{worker['device']}@{worker['host']}" + ("" if worker["queues"] else " (stopping)")
        table.add_row(
            name, f"{worker['running']}/{worker['slots']}", "\n".join(map(_model, worker["models"]))
        )
    screen.console().print(table)


def _model(model: dict[str, Any]) -> str:
    line = f"{model['model']} {model['version'][:12]} {model['state']}, {model['bytes'] / 1e6:.0f} MB"
    pinned = ", pinned" if model.get("pinned") else ""
    return (
        line
        + pinned
        + (f": {model['reason']}; tried again in {model['retry_in']:.0f} s" if model.get("reason") else "")
    )


def _table(candidates: list[dict[str, Any]]) -> Table:
    table = screen.new_table("worker", "score", "running", "waiting", "loaded", "s/prediction", "reason")
    for candidate in candidates:
        score = "out" if candidate["score"] is None else f"{candidate['score']:.6g}"
        seconds = f"{candidate['seconds']:.3g}" if candidate["seconds"] else ""
        loaded = "yes" if candidate["loaded"] else "no"
        table.add_row(
            candidate["worker"],
            score,
            f"{candidate['running']}/{candidate['slots']}",
            str(candidate["waiting"]),
            loaded,
            seconds,
            candidate["reason"],
        )
    return table
