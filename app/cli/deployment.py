"""`lovage apply`: registers the models of a deployment's file at a running platform, through its public
API."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import screen
from app.cli.connection import EXIT_FAILED, EXIT_UNREACHABLE, JSON, Api, ApiError, show_json, stop
from app.settings import use_deployment

if TYPE_CHECKING:
    from app.deployment_file import ModelEntry

PANEL = "Models and keys"
NOT_FOUND = 404


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(rich_help_panel=PANEL)(apply)


def apply(
    file: Annotated[Path, typer.Argument(help="A deployment's file; its settings are checked, not sent.")],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Register the models of a deployment's file, or new versions of those that differ. Models that the file
    does not name stay."""
    deployment = use_deployment(file)
    try:
        outcomes = list(register_all(Api(), deployment.models if deployment else ()))
    except ApiError as error:
        stop(str(error), error.code)
    if as_json:
        show_json([{"outcome": sentence, "ok": ok} for sentence, ok in outcomes])
    else:
        print(screen.visible("\n".join(sentence for sentence, _ in outcomes) or "The file has no models."))
    if not all(ok for _, ok in outcomes):
        raise SystemExit(EXIT_FAILED)


def register_all(api: Api, models: "Sequence[ModelEntry]") -> Iterator[tuple[str, bool]]:
    """(what became of it, whether it is as the file says) of each, one after the other. Raises ApiError where
    there is no platform."""
    for entry in models:
        try:
            yield _register(api, entry), True
        except ApiError as error:
            if error.code == EXIT_UNREACHABLE:
                raise
            yield f"{entry.name}: {error}", False


def _register(api: Api, entry: "ModelEntry") -> str:
    """Makes the platform's model what the file says. Raises ApiError."""
    owner, slash, name = entry.name.rpartition("/")
    owner = owner if slash else api.request("GET", "/v1/account")["username"]
    path = f"/v1/models/{owner}/{name}"
    version = {"source": entry.source, "config": entry.config}
    version |= {key: value for key, value in (("runtime", entry.runtime), ("task", entry.task)) if value}
    facts: dict[str, Any] = {"visibility": "public" if entry.public else "private"}
    facts |= {} if entry.description is None else {"description": entry.description}
    before = _find(api, path)
    if before is None:
        body = {"owner": owner, "name": name, "version": version, **facts}
        return f"{owner}/{name}: registered as {_latest(api.request('POST', '/v1/models', json=body))}"
    if any(before[key] != value for key, value in facts.items()):
        api.request("PATCH", path, json=facts)
    registered = str(api.request("POST", f"{path}/versions", json=version)["id"])
    if registered == _latest(before):
        return f"{owner}/{name}: is {registered} already"
    if registered != _latest(api.request("GET", path)):  # one of before, which the file has gone back to
        api.request("POST", f"{path}/versions/{registered}/current")
    return f"{owner}/{name}: {registered} is its version now"


def _find(api: Api, path: str) -> Any:
    """The model, or None. Raises ApiError."""
    try:
        return api.request("GET", path)
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
        return None


def _latest(model: Any) -> str:
    return str((model["latest_version"] or {}).get("id", ""))
