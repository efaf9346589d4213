"""`lovage discover`: what runtimes and what models lie on this machine's disk. Needs no platform, except to
register."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import models, screen
from app.cli.connection import EXIT_USAGE, JSON, show_json, stop
from app.cli.model_versions import check_folder, root_of, size
from app.runtimes import registry
from app.services.catalogue.adapter_files import base_of, is_adapter
from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_kind import kind_of
from app.services.catalogue.sources import SourceReader
from app.settings import folders, load_client

# What makes a folder one model.
MARKS = ("config.json", "model_index.json", "modules.json", "predictor.py", "adapter_config.json")
OTHER_WEIGHTS = (".gguf", ".onnx")
DEEPEST = 8


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model's folder: how it would be run, or why it would not (`problem`). `bytes` of all its files."""

    name: str
    folder: str
    runtime: str
    task: str
    architecture: str
    bytes: int
    problem: str


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(help="Find runtimes, and models on disk.", invoke_without_command=True)
    group.callback()(runtimes)
    group.command("models")(find_models)
    app.add_typer(group, name="discover", rich_help_panel="Models and keys")


def runtimes(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="Only those that do this task.")] = "",
    hardware: Annotated[str, typer.Option(help="Only those for this device class: cpu, cuda …")] = "",
    query: Annotated[str, typer.Option(help="Only those in which all these words stand.")] = "",
    path: Annotated[
        list[Path] | None, typer.Option(help="A folder to scan besides those of RUNTIME_PATHS.")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """List the runtimes that this machine can run: built in, plug-ins, and files (hf_*.py, *_runtime.py) with
    their errors."""
    if context.invoked_subcommand:
        return
    from app.services.catalogue.runtime_index import list_local  # SQLAlchemy comes with it: 0.4 s

    scanned = [*folders(load_client().runtime_paths), *map(_folder, path or [])]
    specs = [
        spec
        for spec in list_local(registry.list_all(scanned))
        if spec.fits(task=task, hardware=hardware, query=query)
    ]
    if as_json:
        show_json([asdict(spec) for spec in specs])
        return
    if not specs:
        print("No runtime fits. `lovage discover` without options lists them all.")
        return
    table = screen.new_table("runtime", "tasks", "hardware", "from", "what it does")
    for spec in specs:
        text = screen.styled(spec.error, "red") if spec.error else spec.description
        table.add_row(
            spec.name or "-",
            ", ".join(spec.tasks),
            ", ".join(spec.hardware) or "any",
            spec.origin,
            text,
        )
    screen.console().print(table)


def find_models(
    folder: Annotated[Path, typer.Argument(help="Searched at every depth.", show_default=False)],
    task: Annotated[str, typer.Option(help="Only models of this runtime or task.")] = "",
    register: Annotated[
        bool, typer.Option("--register", help="Register those that can be run, under your name.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Find model folders as Hugging Face lays them out, and register them on request."""
    matches = [model for model in _models(_folder(folder)) if not task or task in (model.runtime, model.task)]
    if as_json:
        show_json([asdict(model) for model in matches])
    elif matches:
        _print(matches)
    else:
        print(f"No models under {folder}. A model is a folder with one of: {', '.join(MARKS)}")
    for model in matches if register else []:
        if not model.problem:
            models.add(f"path:{model.folder}", name=model.name)


def _print(matches: list[FoundModel]) -> None:
    table = screen.new_table("model", "runtime", "task", "architecture", "size", "folder")
    for model in matches:
        how = screen.styled(model.problem, "red") if model.problem else model.runtime
        table.add_row(model.name, how, model.task, model.architecture, size(model.bytes), model.folder)
    screen.console().print(table)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        stop(f"{path}: is not a folder", EXIT_USAGE)
    return path.resolve()


def _models(root: Path) -> Iterator[FoundModel]:
    """Never looks into a model's own folders: a pipeline's parts are no models."""
    for folder, below, files in os.walk(root):
        if len(Path(folder).relative_to(root).parts) >= DEEPEST:
            below.clear()
        if any(mark in files for mark in MARKS) or any(name.endswith(OTHER_WEIGHTS) for name in files):
            below.clear()
            yield _looked(Path(folder), root)
        else:
            below[:] = sorted(name for name in below if not name.startswith("."))


def _looked(folder: Path, root: Path) -> FoundModel:
    looked = SourceReader([root_of(root)]).inspect(f"path:{folder}").files
    assert looked is not None
    config: Any = looked.configs.get("config.json")
    architectures = config.get("architectures") if isinstance(config, dict) else None
    runtime, task = kind_of(looked) or ("", "")
    problems = list_problems(looked, runtime, task)
    problem = problems[0] if problems else "" if runtime else "its files do not show what it does"
    base = base_of(looked) if is_adapter(looked) else ""
    if base and Path(base).is_dir():  # one of this machine's, else the hub is asked
        report = check_folder(folder)
        runtime, task = report.runtime, report.task
        problem = report.problems[0].description if report.problems else ""
    if not problem and looked.needs_own_code:
        problem = "wants to run its own code"
    architecture = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return FoundModel(_name(folder), str(folder), runtime, task, architecture, total, problem)


def _name(folder: Path) -> str:
    """The folder's own, or the model's in the hub's cache: models--org--name/snapshots/commit."""
    cached = [part for part in folder.parts if part.startswith("models--")]
    name = cached[-1].rpartition("--")[2] if cached else folder.name
    return (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name.lower()).strip(
            "-_."
        )
        or "model"
    )
