"""`lovage top`: what the platform does, live in a terminal, and `lovage status`: the same once. Through the
public API."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live

from app.cli import screen
from app.cli.connection import JSON, Api, show_json
from app.cli.queues import age, queue_table

PANEL = "Administration"
ENDINGS = ("succeeded", "failed", "canceled")
MODELS_SHOWN = 30


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (top, status):
        app.command(rich_help_panel=PANEL)(command)


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything at one moment: the answers of the API as they came."""

    status: dict[str, Any]
    queues: list[dict[str, Any]]
    minutes: list[dict[str, Any]]


def take_picture(api: Api) -> Picture:
    """Three calls."""
    return Picture(
        api.request("GET", "/status"),
        api.request("GET", "/v1/queues")["results"],
        api.request("GET", "/v1/statistics", params={"window": "15m"})["points"],
    )


def top(
    seconds: Annotated[float, typer.Option("-s", min=0.5, max=60, help="Between two looks.")] = 2.0,
) -> None:
    """Watch devices, models, batches, queues and rates live. Ctrl-C ends it."""
    api, console = Api(), screen.console()
    if not console.is_terminal:
        console.print(as_screen(take_picture(api)))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(as_screen(take_picture(api)), refresh=True)
            time.sleep(seconds)


def status(as_json: Annotated[bool, JSON] = False) -> None:
    """Show once what `lovage top` watches."""
    picture = take_picture(Api())
    if as_json:
        show_json({**picture.status, "queues": picture.queues})
    else:
        screen.console().print(as_screen(picture))
        screen.console().print(features_line(picture.status["features"]))


def as_screen(picture: Picture) -> Group:
    """For a terminal."""
    parts: list[Any] = [screen.styled(_headline(picture), "bold"), _workers(picture.status["workers"] or [])]
    parts += [_models(picture.status["workers"] or []), queue_table(picture.queues)]
    return Group(*parts)


def _headline(picture: Picture) -> str:
    state = picture.status
    claimed = f", {state['claimed']} claimed" if state["claimed"] else ""
    counts = f"{state['waiting']} waiting{claimed}, {state['running']} running"
    return f"Lovage {state['version']}  {counts}  {_rates(picture.minutes)}"


def features_line(features: dict[str, bool]) -> str:
    """Which parts of the API are on."""
    on, off = ([name for name, is_on in features.items() if is_on == state] for state in (True, False))
    return f"on: {', '.join(on) or 'none'}" + (f"; off: {', '.join(off)}" if off else "")


def _rates(minutes: list[dict[str, Any]]) -> str:
    """Of the last minute that is over."""
    whole = [minute for minute in minutes if any(minute[name] for name in ENDINGS)]
    if not whole:
        return "nothing ended in the last 15 whole minutes"
    last = whole[-1]
    counts = ", ".join(f"{last[name]} {name}" for name in ENDINGS if last[name])
    median = "" if last["p50"] is None else f", p50 {last['p50']:.2g} s, p95 {last['p95']:.2g} s"
    return f"minute {last['at'][11:16]}: {counts}{median}"


def _workers(workers: list[dict[str, Any]]) -> Any:
    table = screen.new_table("worker", "device", "memory", "running", "beat", "state")
    for each in workers:
        facts = each["device_facts"]
        loaded = sum(int(model.get("bytes") or 0) for model in each["models"])
        memory = f"{loaded / 1e9:.1f} of {int(facts.get('total_bytes') or 0) / 1e9:.0f} GB"
        state = "" if each["queues"] else "takes nothing new"
        table.add_row(
            f"{each['device']}@{each['host']}",
            str(facts.get("name") or each["device_class"]),
            memory,
            f"{each['running']}/{each['slots']}",
            f"{age(_seconds_since(each['seen_at']))} ago",
            state,
        )
    return table


def _seconds_since(text: str) -> float:
    """By this machine's clock."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())


def _models(workers: list[dict[str, Any]]) -> Any:
    table = screen.new_table("model", "worker", "state", "memory", "in use", "batch", "each")
    rows = [(model, worker) for worker in workers for model in worker["models"]]
    rows.sort(key=lambda row: (-int(row[0].get("in_use") or 0), row[0]["model"]))
    for model, worker in rows[:MODELS_SHOWN]:
        pace = model.get("pace") or 0
        table.add_row(
            model["model"],
            f"{worker['device']}@{worker['host']}",
            model["state"] + (f": {model['reason']}" if model.get("reason") else ""),
            f"{int(model.get('bytes') or 0) / 1e6:.0f} MB",
            str(model.get("in_use") or 0),
            str(model.get("batch_size") or ""),
            f"{pace * 1000:.3g} ms" if pace else "",
        )
    return table
