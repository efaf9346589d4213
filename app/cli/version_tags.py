"""`lovage models tag`, through the public API."""

from typing import Annotated
from urllib.parse import quote

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, Api, show_json, show_outcome, stop
from app.cli.lookups import find_model


def tag(
    model: Annotated[str, typer.Argument(help="owner/name:VERSION to tag; owner/name: list its tags.")],
    name: Annotated[str, typer.Argument(help="The tag, e.g. stable.")] = "",
    remove: Annotated[bool, typer.Option("--rm", help="Remove this tag; the version stays.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Give a version a name of its own: `owner/name:TAG` means it until the tag is moved; list and remove
    tags."""
    api = Api()
    path, version = find_model(api, model)
    address = f"/v1/models/{path}/tags/{quote(name, safe='')}"
    if remove:
        if not name or version:
            stop(f"--rm: name the model and the tag: lovage models tag {path} TAG --rm", EXIT_USAGE)
        api.request("DELETE", address)
        show_outcome({"removed": name}, f"{path}:{name} removed", as_json)
    elif name:
        if not version:
            stop(f"{model}: name the version: {path}:VERSION (lovage models versions {path})", EXIT_USAGE)
        put = api.request("PUT", address, json={"version": version})
        show_outcome(put, f"{path}:{put['name']} is {put['version']} now", as_json)
    else:
        _list(api, path, version, as_json)


def _list(api: Api, path: str, version: str, as_json: bool) -> None:
    tags = api.request("GET", f"/v1/models/{path}/tags")["results"]
    tags = [each for each in tags if version in ("", each["version"])]
    if as_json:
        show_json(tags)
        return
    if not tags:
        print(f"No tags yet. Add one: lovage models tag {path}:VERSION stable")
        return
    table = screen.new_table("tag", "version", "since")
    for each in tags:
        table.add_row(each["name"], each["version"][:12], each["created_at"][:19])
    screen.console().print(table)
