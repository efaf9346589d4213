"""`lovage queue …` and `lovage worker ls | drain | resume`, for administrators, through the public API."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import processes, screen
from app.cli.connection import JSON, Api, show_json, show_outcome

PANEL = "Administration"
QUEUE = Annotated[str, typer.Argument(help="A queue, as `lovage queue ls` names it.")]
WORKER = Annotated[str, typer.Argument(help="Its name, such as cuda:0@host, or its id.")]


def add_to(app: typer.Typer) -> None:
    """Registers the groups."""
    queue = typer.Typer(
        help="See queues; pause, resume, move and purge what waits in one.", no_args_is_help=True
    )
    for command in (ls, pause, resume, move, purge):
        queue.command(command.__name__)(command)
    app.add_typer(queue, name="queue", rich_help_panel=PANEL)
    worker = typer.Typer(callback=processes.worker, invoke_without_command=True)
    worker.command("ls")(list_workers)
    worker.command("drain")(drain)
    worker.command("resume")(resume_worker)
    app.add_typer(worker, name="worker", rich_help_panel=processes.PANEL)


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List the queues: what waits, since when, who reads."""
    queues = Api().request("GET", "/v1/queues")["results"]
    if as_json:
        show_json(queues)
    else:
        screen.console().print(queue_table(queues))


def queue_table(queues: list[dict[str, Any]]) -> Any:
    """For a terminal."""
    table = screen.new_table("queue", "waiting", "oldest", "read by", "state")
    for each in queues:
        paused = f"paused by {each['paused_by']}, {each['paused_since'][:16]}" if each["paused_since"] else ""
        oldest = "" if each["oldest_seconds"] is None else age(each["oldest_seconds"])
        readers = ", ".join(each["workers"]) or "nobody"
        table.add_row(each["queue"], str(each["waiting"]), oldest, readers, paused)
    return table


def age(seconds: float) -> str:
    """In the largest unit of which there is one."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def pause(queue: QUEUE, as_json: Annotated[bool, JSON] = False) -> None:
    """Have no worker begin anything that waits in a queue. What runs goes on."""
    Api().request("POST", f"{_queue_path(queue)}/pause")
    show_outcome(
        {"queue": queue, "paused": True}, f"{queue} is paused; lovage queue resume {queue} goes on", as_json
    )


def resume(queue: QUEUE, as_json: Annotated[bool, JSON] = False) -> None:
    """Have the workers of a queue go on."""
    Api().request("POST", f"{_queue_path(queue)}/resume")
    show_outcome({"queue": queue, "paused": False}, f"{queue} is read again", as_json)


def move(
    queue: QUEUE,
    to: Annotated[str, typer.Argument(help="A queue that a worker reads.")],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Send what waits in a queue to another one. What is bound to its device stays."""
    count = _repeat(f"{_queue_path(queue)}/move", json={"to": to})
    show_outcome({"count": count}, f"{count} moved from {queue} to {to}", as_json)


def purge(
    queue: QUEUE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Cancel everything that waits in a queue. What runs goes on."""
    api = Api()
    if not yes:
        states = {each["queue"]: each for each in api.request("GET", "/v1/queues")["results"]}
        count = states[queue]["waiting"] if queue in states else 0
        typer.confirm(f"Cancel the {count} predictions that wait in {queue}?", abort=True, err=True)
    count = _repeat(f"{_queue_path(queue)}/purge")
    show_outcome({"count": count}, f"{count} canceled", as_json)


def _repeat(path: str, **body: Any) -> int:
    api, count = Api(), 0
    while True:
        act = api.request("POST", path, **body)
        count += int(act["count"])
        if not act["more"]:
            return count


def _queue_path(queue: str) -> str:
    return f"/v1/queues/{quote(queue, safe='')}"


def list_workers(as_json: Annotated[bool, JSON] = False) -> None:
    """List the live workers."""
    workers = Api().request("GET", "/v1/workers")["results"]
    if as_json:
        show_json(workers)
    else:
        screen.console().print(worker_table(workers))


def worker_table(workers: list[dict[str, Any]]) -> Any:
    """For a terminal."""
    table = screen.new_table("worker", "running", "models", "state", "id")
    for each in workers:
        models = ", ".join(model["model"] for model in each["models"] if model["state"] == "ready")
        state = "" if each["queues"] else "drained" if not each["running"] else "draining"
        running = f"{each['running']}/{each['slots']}"
        table.add_row(f"{each['device']}@{each['host']}", running, models, state, each["id"])
    return table


def drain(worker: WORKER, as_json: Annotated[bool, JSON] = False) -> None:
    """Have a worker take nothing new: it hands back what it has not begun, and lives on."""
    _act_on_worker(worker, "drain", "takes nothing new; lovage worker resume has it go on", as_json)


def resume_worker(worker: WORKER, as_json: Annotated[bool, JSON] = False) -> None:
    """Have a drained worker take predictions again."""
    _act_on_worker(worker, "resume", "takes predictions again", as_json)


def _act_on_worker(worker: str, act: str, outcome: str, as_json: bool) -> None:
    details = Api().request("POST", f"/v1/workers/{quote(worker, safe='')}/{act}")
    show_outcome(details, f"{details['device']}@{details['host']} {outcome}", as_json)
