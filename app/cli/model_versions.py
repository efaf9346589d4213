"""`lovage models check | versions | release`, and what `lovage models add` says before it registers."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import screen
from app.cli.connection import (
    EXIT_FAILED,
    EXIT_USAGE,
    JSON,
    Api,
    ApiError,
    show_json,
    show_outcome,
    stop,
)
from app.cli.lookups import find_model, list_tags
from app.runtimes import registry
from app.settings import folders, load_client

if TYPE_CHECKING:
    from app.services.catalogue.model_report import ModelReport

SCHEMES = ("hf:", "path:", "s3://", "none")
UNKNOWN = (404, 405)  # of a platform of the release before, which has no such call


def check(
    source: Annotated[
        str, typer.Argument(help="FOLDER on this machine, hf:org/name[@revision], path:FOLDER, …")
    ],
    runtime: Annotated[str, typer.Option(help="How to run it; default: found out from the files.")] = "",
    task: Annotated[str, typer.Option(help="The task; default: found out from the files.")] = "",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Say what registering would find, and why it would be refused. Nothing is registered; a folder of this
    machine needs no platform."""
    if source.startswith(SCHEMES):
        report = Api().models.check(source=source, runtime=runtime, task=task)
    else:
        report = asdict(check_folder(Path(source), runtime, task))
    if as_json:
        show_json(report)
    else:
        print_report(report)
    if report["problems"]:
        raise SystemExit(EXIT_FAILED)


def check_folder(folder: Path, runtime: str = "", task: str = "") -> "ModelReport":
    """What registering a folder of this machine would find, as this machine's runtimes are."""
    if not folder.is_dir():
        stop(f"{folder}: is not a folder", EXIT_USAGE)
    from app.services.catalogue.sources import SourceReader  # these bring SQLAlchemy with them: half a second
    from app.services.catalogue.version_maker import VersionMaker
    from app.services.catalogue.version_request import VersionRequest
    from app.services.people.access import SCOPES, Principal

    here = Principal(None, "", frozenset(SCOPES), is_admin=True)  # whoever looks at their own disk
    folder = folder.resolve()
    maker = VersionMaker(_local_specs, SourceReader([root_of(folder), *_base_folders(folder)]))
    return maker.check(here, VersionRequest(f"path:{folder}", runtime, task))


def _base_folders(folder: Path) -> list[Path]:
    """Of an adapter, the folder that its files call its base, where it is on this machine."""
    from app.services.catalogue.adapter_files import CONFIG, base_in
    from app.services.catalogue.model_files import read_config

    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else None
    base = base_in(config) if isinstance(config, dict) else ""
    return [Path(base)] if base and Path(base).is_dir() else []


def _local_specs() -> dict[str, dict[str, Any]]:
    known = registry.list_all(folders(load_client().runtime_paths))
    return {runtime["name"]: runtime["spec"] for runtime in known if not runtime["error"]}


def root_of(folder: Path) -> Path:
    """Where the links of a folder may lead: of a commit in the hub's own cache, its repository."""
    repositories = [each for each in (folder, *folder.parents) if each.name.startswith("models--")]
    return repositories[-1] if repositories else folder


def print_report(report: dict[str, Any]) -> None:
    """A fact a line, then what is wrong, in the order of mending."""
    facts = {
        "source": report["source"],
        "runtime": report["runtime"] or "not known",
        "task": report["task"],
        "files": f"{report['files']}, {size(report['bytes'])}"
        if report["files"] is not None
        else "not looked into",
        "weights": _weights(report),
    }
    for name, value in facts.items():
        if value:
            print(screen.visible(f"{name:<8} {value}"))
    for problem in report["problems"]:
        screen.console(soft_wrap=True).print(
            screen.styled(f"{problem['field']} {problem['description']}", "red")
        )


def _weights(report: dict[str, Any]) -> str:
    if not report["parameters"]:
        return ""
    memory = f", {size(report['memory_bytes'])} of memory" if report["runtime"] else ""
    return f"{report['parameters'] / 1e6:,.1f} M parameters in {report['dtype']}{memory}"


def size(number: int) -> str:
    """1_500_000 -> 1.5 MB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def show_report_of(api: Api, name: str, version: dict[str, Any], *, sure: bool, quiet: bool) -> None:
    """Says what is about to be registered, unless `quiet`; asks when the name stands for a model of another
    runtime."""
    try:
        report = api.models.check(**version, model=name)
    except ApiError as error:
        if error.status in UNKNOWN:
            return
        stop(str(error), error.code)
    if report["problems"]:
        return  # registering refuses it, with the same sentences
    if not quiet:
        print_report(report)
    if not report["current_version"]:
        return
    if not quiet:
        print(f"A new version of {name} (now {report['current_version'][:12]}, {report['current_runtime']}).")
    if report["current_runtime"] != report["runtime"] and not sure:
        _ask(f"{name} is run by {report['current_runtime']}, the new version by {report['runtime']}.")


def _ask(sentence: str) -> None:
    if not sys.stdin.isatty():
        stop(f"{sentence} Say --yes if that is meant.", EXIT_USAGE)
    if not typer.confirm(f"{sentence} Register it?"):
        stop("nothing was registered")


def versions(
    model: Annotated[str, typer.Argument(help="owner/name.")], as_json: Annotated[bool, JSON] = False
) -> None:
    """List a model's versions, newest first, with their tags; the current one is marked."""
    api = Api()
    path, _ = find_model(api, model)
    rows = list(api.models.versions(path))
    if as_json:
        show_json(rows)
        return
    latest = (api.models.get(path)["latest_version"] or {}).get("id")
    tags = list_tags(api, path)
    table = screen.new_table("", "version", "tags", "created", "runtime", "task", "source")
    for row in rows:
        mark = "current" if row["id"] == latest else ""
        own = ", ".join(each["name"] for each in tags if each["version"] == row["id"])
        shown = (row["created_at"][:19], row["runtime"], row["task"], row["source"])
        table.add_row(mark, row["id"][:12], own, *shown)
    screen.console().print(table)


def release(
    model: Annotated[str, typer.Argument(help="owner/name:version.")], as_json: Annotated[bool, JSON] = False
) -> None:
    """Make a version the one that the model's name means: how one goes back to an older one."""
    api = Api()
    path, version = find_model(api, model)
    if not version:
        stop(f"{model}: name the version: {path}:VERSION (lovage models versions {path})", EXIT_USAGE)
    version_out = api.models.release(path, version)
    show_outcome(version_out, f"{path} is {version_out['id']} now", as_json)
