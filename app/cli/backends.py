"""`lovage backends add | ls | show | set | test | sync | drain | rm`, for administrators, through the public
API."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import screen
from app.cli.connection import EXIT_FAILED, EXIT_USAGE, JSON, Api, show_json, show_outcome, stop

PANEL = "Administration"
NAME = typer.Argument(help="The backend's name.")
KEY = typer.Option("--key", help="Its credential; - reads it from standard input.")


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(help="Servers of models elsewhere: add, test, sync, drain.", no_args_is_help=True)
    for name, command in (
        ("add", add),
        ("ls", ls),
        ("show", show),
        ("set", change),
        ("test", try_out),
        ("sync", sync),
        ("drain", drain),
        ("rm", rm),
    ):
        group.command(name)(command)
    app.add_typer(group, name="backends", rich_help_panel=PANEL)


def add(
    kind: Annotated[str, typer.Argument(help="What it speaks, e.g. openai.")],
    url: Annotated[str, typer.Argument(help="Its address, e.g. http://127.0.0.1:8000.")],
    name: Annotated[str, typer.Option(help="Its name here; default: the kind.")] = "",
    key: Annotated[str, KEY] = "",
    concurrency: Annotated[int, typer.Option(help="Most predictions there at once.")] = 0,
    silence: Annotated[float, typer.Option(help="Seconds without a byte after which a call ends.")] = 0.0,
    options: Annotated[str, typer.Option(help="JSON object: the kind's own options.")] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Add a backend, and try it out."""
    api = Api()
    values = {"name": name or kind, "kind": kind, "url": url, **_values(key, concurrency, silence, options)}
    backend = api.request("POST", "/v1/backends", json=values)
    result = api.request("POST", f"{_path(backend['name'])}/test")
    if as_json:
        show_json({**backend, "test": result})
        return
    print(f"{backend['name']} added")
    _print_result(backend["name"], result)
    print(f"Register its models: lovage backends sync {backend['name']} --public")


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List the backends with their state."""
    backends = Api().request("GET", "/v1/backends")["results"]
    if as_json:
        show_json(backends)
        return
    if not backends:
        print("No backends yet. Add one: lovage backends add openai http://127.0.0.1:8000")
        return
    table = screen.new_table("name", "kind", "url", "state", "serves")
    for backend in backends:
        state = "draining" if backend["draining"] else backend["state"]
        table.add_row(backend["name"], backend["kind"], backend["url"], state, str(len(backend["served"])))
    screen.console().print(table)


def show(name: Annotated[str, NAME], as_json: Annotated[bool, JSON] = False) -> None:
    """Show a backend, what it serves, and how it does."""
    api = Api()
    backend, stats = api.request("GET", _path(name)), api.request("GET", f"{_path(name)}/stats")
    if as_json:
        show_json({**backend, "stats": stats})
        return
    credential = "with a credential" if backend["has_credential"] else "without a credential"
    print(f"{backend['name']}  {backend['kind']}  {backend['url']}  {credential}")
    print(f"{stats['state']}{': ' + stats['reason'] if stats['reason'] else ''}")
    print(
        f"{stats['in_flight']} of {backend['max_concurrency']} in flight, {stats['waiting']} waiting,"
        f" {stats['requests']} calls, {stats['errors']} failed"
    )
    table = screen.new_table("model", "task", "context", "dimensions", "breaker")
    for model in backend["served"]:
        numbers = [str(model[field] or "") for field in ("context_length", "dimensions")]
        table.add_row(model["name"], model["task"], *numbers, stats["models"].get(model["name"], ""))
    screen.console().print(table)


def change(
    name: Annotated[str, NAME],
    url: Annotated[str, typer.Option(help="Another address.")] = "",
    key: Annotated[str, KEY] = "",
    concurrency: Annotated[int, typer.Option(help="Most predictions there at once.")] = 0,
    silence: Annotated[float, typer.Option(help="Seconds without a byte after which a call ends.")] = 0.0,
    options: Annotated[str, typer.Option(help="JSON object: the kind's own options.")] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Change a backend's address, credential, limits or options."""
    values = _values(key, concurrency, silence, options) | ({"url": url} if url else {})
    if not values:
        stop("say what to change: --url, --key, --concurrency, --silence or --options", EXIT_USAGE)
    show_outcome(Api().request("PATCH", _path(name), json=values), f"{name} changed", as_json)


def try_out(name: Annotated[str, NAME], as_json: Annotated[bool, JSON] = False) -> None:
    """Call a backend: does it answer, and what does it serve?"""
    result = Api().request("POST", f"{_path(name)}/test")
    if as_json:
        show_json(result)
    else:
        _print_result(name, result)
    if not result["ok"]:
        raise SystemExit(EXIT_FAILED)


def sync(
    name: Annotated[str, NAME],
    public: Annotated[bool, typer.Option("--public", help="Let every user run them.")] = False,
    owner: Annotated[str, typer.Option(help="Of the models; default: the backend's name.")] = "",
    model: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Register what a backend serves as models."""
    body: dict[str, Any] = {"visibility": "public" if public else "private"}
    body |= ({"owner": owner} if owner else {}) | ({"models": model} if model else {})
    results = Api().request("POST", f"{_path(name)}/sync", json=body)["results"]
    if as_json:
        show_json(results)
        return
    table = screen.new_table("there", "here", "task", "")
    for each in results:
        state = each["error"] or ("registered" if each["is_new"] else "there already")
        table.add_row(each["upstream"], each["model"], each["task"], state)
    screen.console().print(table)


def drain(
    name: Annotated[str, NAME],
    undo: Annotated[bool, typer.Option("--undo", help="Let it have predictions again.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Give a backend nothing more; what runs there goes on."""
    backend = Api().request("PATCH", _path(name), json={"draining": not undo})
    sentence = f"{name} takes predictions again" if undo else f"{name} is draining"
    show_outcome(backend, sentence, as_json)


def rm(name: Annotated[str, NAME], as_json: Annotated[bool, JSON] = False) -> None:
    """Remove a backend. Its models stay; their predictions wait until it is there again."""
    Api().request("DELETE", _path(name))
    show_outcome({"removed": name}, f"{name} removed", as_json)


def _path(name: str) -> str:
    return f"/v1/backends/{quote(name, safe='')}"


def _values(key: str, concurrency: int, silence: float, options: str) -> dict[str, Any]:
    credential = typer.get_text_stream("stdin").read().strip() if key == "-" else key
    values = {"credential": credential, "max_concurrency": concurrency, "silence_seconds": silence}
    body = {name: value for name, value in values.items() if value}
    if options:
        try:
            body["options"] = json.loads(options)
        except ValueError:
            stop("--options: must be a JSON object", EXIT_USAGE)
    return body


def _print_result(name: str, result: dict[str, Any]) -> None:
    if result["ok"]:
        served = ", ".join(model["name"] for model in result["served"][:10]) or "nothing"
        print(f"{name} answers in {result['seconds']:.2f} s and serves {served}")
    else:
        print(f"{name} {result['error']}")
