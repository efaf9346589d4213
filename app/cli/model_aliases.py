"""`lovage models alias`, through the public API."""

from typing import Annotated
from urllib.parse import quote

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, Api, show_json, show_outcome, stop


def alias(
    name: Annotated[str, typer.Argument(help="The other name, e.g. gpt2; without it: list all.")] = "",
    model: Annotated[str, typer.Argument(help="owner/name of the model that it means.")] = "",
    remove: Annotated[bool, typer.Option("--rm", help="Remove this name; the model stays.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Give a model another name, e.g. `gpt2` for `openai-community/gpt2`; list and remove such names."""
    api, path = Api(), f"/v1/model-aliases/{quote(name, safe='')}"
    if remove:
        if not name or model:
            stop("--rm: name the alias to remove, and no model", EXIT_USAGE)
        api.request("DELETE", path)
        show_outcome({"removed": name}, f"{name} removed", as_json)
    elif model:
        _show(api.request("PUT", path, json={"model": model}), as_json)
    elif name:
        _show(api.request("GET", path), as_json)
    else:
        _list(api, as_json)


def _show(answer: dict[str, str], as_json: bool) -> None:
    show_outcome(answer, f"{answer['name']} means {answer['model']}", as_json)


def _list(api: Api, as_json: bool) -> None:
    aliases = api.request("GET", "/v1/model-aliases")["results"]
    if as_json:
        show_json(aliases)
        return
    if not aliases:
        print("No aliases yet. Add one: lovage models alias gpt2 openai-community/gpt2")
        return
    table = screen.new_table("alias", "model", "")
    for each in aliases:
        table.add_row(each["name"], each["model"], "MODEL_ALIASES" if each["is_setting"] else "")
    screen.console().print(table)
