"""`lovage models ls | add | push | show | load | unload | pin | rm`, through the public API; the rest of the
group is in app/cli/model_versions.py."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import model_aliases, model_conversion, model_push, model_versions, screen, version_tags
from app.cli.connection import EXIT_USAGE, JSON, Api, ApiError, show_json, show_outcome, stop
from app.cli.lookups import find_model
from app.domain.versions import is_name

NOT_FOUND = 404
POLL_SECONDS = 0.5
REPORT_SECONDS = 4.0  # until a heartbeat reports that this load has failed, not one before it


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(help="Register, list, load and remove models.", no_args_is_help=True)
    for name, command in (
        ("ls", ls),
        ("add", add),
        ("push", push),
        ("check", model_versions.check),
        ("convert", model_conversion.convert),
        ("show", show),
        ("versions", model_versions.versions),
        ("release", model_versions.release),
        ("tag", version_tags.tag),
        ("load", load),
        ("unload", unload),
        ("pin", pin),
        ("alias", model_aliases.alias),
        ("rm", rm),
    ):
        group.command(name)(command)
    app.add_typer(group, name="models", rich_help_panel="Models and keys")


# Options of both ways to register.
RuntimeName = Annotated[str, typer.Option(help="How to run it; default: found out from the files.")]
Task = Annotated[str, typer.Option(help="The task; default: found out from the files.")]
Config = Annotated[str, typer.Option(help="JSON object with dtype, max_batch_size, device …")]
Description = Annotated[str, typer.Option(help="One sentence.")]
Public = Annotated[bool, typer.Option("--public", help="Let every user run it.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do not ask when the name stands for a model of another runtime.")
]


def ls(as_json: Annotated[bool, JSON] = False) -> None:
    """List the models that you may run."""
    rows = Api().every("/v1/models")
    if as_json:
        show_json(rows)
        return
    if not rows:
        print("No models yet. Add one: lovage models add hf:org/name")
        return
    table = screen.new_table("model", "visibility", "runs", "version", "description")
    for model in rows:
        version = (model.get("latest_version") or {}).get("id", "")[:12]
        table.add_row(
            f"{model['owner']}/{model['name']}",
            model["visibility"],
            str(model["run_count"]),
            version,
            model["description"] or "",
        )
    screen.console().print(table)


def add(
    source: Annotated[
        str, typer.Argument(help="hf:org/name[@revision], path:FOLDER, s3://bucket/prefix, or none.")
    ],
    name: Annotated[str, typer.Option(help="owner/name or name; default: the source's last part.")] = "",
    runtime: RuntimeName = "",
    task: Task = "",
    config: Config = "{}",
    description: Description = "",
    public: Public = False,
    yes: Yes = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Register a model, or a new version of one that is there."""
    api = Api()
    owner, model = _names(api, name or _last_part(source))
    version: dict[str, Any] = {"source": source, "config": _object(config)}
    version |= {key: value for key, value in {"runtime": runtime, "task": task}.items() if value}
    model_versions.show_report_of(api, f"{owner}/{model}", version, sure=yes, quiet=as_json)
    if _exists(api, owner, model):
        created = api.models.create_version(f"{owner}/{model}", **version)
    else:
        values = {"visibility": "public" if public else "private", "version": version}
        values |= {"description": description} if description else {}
        created = api.models.create(f"{owner}/{model}", **values)["latest_version"]
    if as_json:
        show_json(created)
        return
    print(f"{owner}/{model}:{created['id']}")
    print(f"Run it: lovage run {owner}/{model} -i …   (its inputs: lovage models show {owner}/{model})")


def push(
    folder: Annotated[Path, typer.Argument(help="With config.json, *.safetensors and the like.")],
    name: Annotated[str, typer.Option(help="owner/name or name; default: the folder's name.")] = "",
    runtime: RuntimeName = "",
    task: Task = "",
    config: Config = "{}",
    description: Description = "",
    public: Public = False,
    yes: Yes = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Upload a model's folder and register it; broken off, the same command goes on."""
    api = Api()
    chosen = name or folder.resolve().name.lower()
    owner, model = _names(api, chosen)
    source = model_push.push_folder(api, folder, owner, model)
    add(source, f"{owner}/{model}", runtime, task, config, description, public, yes, as_json)


def show(model: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Show a model and its inputs."""
    details = Api().models.get(model if is_name(model) else _path(model))
    if as_json:
        show_json(details)
        return
    console = screen.console()
    latest = details.get("latest_version") or {}
    name = f"{details['owner']}/{details['name']}"
    console.print(screen.styled(name, "bold"), f" {details['visibility']}  {details['description'] or ''}")
    console.print(f"version {latest.get('id', 'none yet')}")
    if latest:
        console.print(served(latest["serving"]))
    schema = latest.get("openapi_schema", {}).get("components", {}).get("schemas", {}).get("Input", {})
    table = screen.new_table("input", "type", "default", "description")
    for name, field in sorted(
        schema.get("properties", {}).items(), key=lambda item: item[1].get("x-order", 0)
    ):
        kind = field.get("type") or "/".join(choice.get("type", "?") for choice in field.get("anyOf", []))
        needed = " (required)" if name in schema.get("required", []) else ""
        default = json.dumps(field["default"]) if "default" in field else ""
        table.add_row(name + needed, kind, default, field.get("description", ""))
    console.print(table)


def served(serving: dict[str, Any]) -> str:
    """How the live workers stand to a version, in a line."""
    if not serving["workers"]:
        return "unserved: no live worker could run it; predictions wait"
    workers = "1 worker" if serving["workers"] == 1 else f"{serving['workers']} workers"
    known = {
        "loaded": f"loaded on {serving['loaded_on']} of {workers}",
        "unloaded": f"not loaded: its next prediction loads it ({workers} could)",
    }
    line = known.get(serving["status"], f"{serving['status']} on {workers}")
    if not serving["troubled_on"]:
        return line
    return (
        f"{line}, in trouble on {serving['troubled_on']}: {serving['reason']}; tried again in"
        f" {serving['retry_in']:.0f} s"
    )


def load(
    model: Annotated[str, typer.Argument(help="owner/name or owner/name:version.")],
    worker: Annotated[
        list[str] | None, typer.Option(help="Only on this worker, e.g. cuda:0@host. Repeatable.")
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when a worker has it; exit code 1 when none can load it.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Have the workers load a model, so that its first prediction need not wait."""
    api = Api()
    path, version = find_model(api, model)
    answer = _send_command(api, "load", path, version, worker, as_json)
    if wait:
        print(_until_loaded(api, f"/v1/models/{path}/versions/{answer['version']}"))


def unload(
    model: Annotated[str, typer.Argument(help="owner/name or owner/name:version.")],
    worker: Annotated[
        list[str] | None, typer.Option(help="Only on this worker, e.g. cuda:0@host. Repeatable.")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Have the workers unload a model once nothing of it runs or waits; the next prediction loads it
    again."""
    api = Api()
    path, version = find_model(api, model)
    _send_command(api, "unload", path, version, worker, as_json)


def pin(
    model: Annotated[str, typer.Argument(help="owner/name or owner/name:version.")],
    worker: Annotated[
        list[str] | None, typer.Option(help="Only on this worker, e.g. cuda:0@host. Repeatable.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Let it be unloaded again.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Have the workers load a model and keep it until --off, an unload, or their stop."""
    api = Api()
    path, version = find_model(api, model)
    _send_command(api, "unpin" if off else "pin", path, version, worker, as_json)


def _send_command(
    api: Api, act: str, path: str, version: str, workers: list[str] | None, as_json: bool
) -> dict[str, Any]:
    body = {key: value for key, value in {"version": version, "workers": workers}.items() if value}
    answer: dict[str, Any] = api.request("POST", f"/v1/models/{path}/{act}", json=body)
    if as_json:
        show_json(answer)
    else:
        print(
            f"asked to {act} {path}: " + (", ".join(answer["asked"]) or "nobody, no live worker could run it")
        )
    return answer


def _until_loaded(api: Api, address: str) -> str:
    """Polls until a worker has it; how the workers stand to it then."""
    began = time.monotonic()
    while True:
        serving = api.request("GET", address)["serving"]
        is_reported = time.monotonic() - began > REPORT_SECONDS
        if serving["status"] == "loaded":
            return served(serving)
        if is_reported and serving["status"] in ("failed", "unhealthy"):
            stop(served(serving))
        time.sleep(POLL_SECONDS)


def rm(model: str, as_json: Annotated[bool, JSON] = False) -> None:
    """Remove a model. Predictions made with it stay."""
    Api().models.delete(_path(model))
    show_outcome({"removed": model}, f"{model} removed", as_json)


def _path(model: str) -> str:
    if model.count("/") != 1:
        stop(f"{model}: must be owner/name", EXIT_USAGE)
    return model


def _last_part(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2].partition("@")[0].removeprefix("hf:").lower()


def _names(api: Api, name: str) -> tuple[str, str]:
    owner, slash, model = name.partition("/")
    return (owner, model) if slash else (api.request("GET", "/v1/account")["username"], name)


def _exists(api: Api, owner: str, model: str) -> bool:
    try:
        api.models.get(f"{owner}/{model}")
    except ApiError as error:
        if error.status != NOT_FOUND:
            stop(str(error), error.code)
        return False
    return True


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        stop(f"--config: is not JSON: {error.msg}", EXIT_USAGE)
    if not isinstance(value, dict):
        stop("--config: must be a JSON object", EXIT_USAGE)
    return value
