"""Name -> runtime class: the one door by which runtimes enter.

Three sources, in this order of right to a name: the built-ins below, entry points of the group
`lovage.runtimes`, and files found by `discover`. Nothing is imported before it is asked for. It does not know
how a runtime works, and it never imports a model library itself. A process that runs discovered runtimes
calls `discover` once at its start.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from app.domain.errors import NotFound
from app.runtimes.base import Runtime, RuntimeSpec

ENTRY_POINT_GROUP = "lovage.runtimes"
BUILT_IN_ORIGIN = "built-in"
FILE_PATTERNS = ("hf_*.py", "*_runtime.py")
METADATA_NAMES = ("model_id", "architecture", "task", "hardware", "license", "tags")

BUILT_IN = {
    "echo": "app.runtimes.echo:Echo",
    "text-generation": "app.runtimes.text.text_generation:TextGeneration",
    "image-generation": "app.runtimes.images.image_generation:ImageGeneration",
    "embedding": "app.runtimes.encoders.embedding:Embedding",
    "pair-scoring": "app.runtimes.encoders.pair_scoring:PairScoring",
    "pipeline": "app.runtimes.pipelines.pipeline:Pipeline",
    "onnx": "app.runtimes.onnx.onnx_graph:OnnxGraph",
    "python": "app.runtimes.python.python_folder:PythonFolder",
}

_imported: dict[str, type[Runtime]] = {}
_discovered: dict[str, type[Runtime]] = {}


@dataclass(frozen=True, slots=True)
class Discovered:
    """One file or plug-in that was looked at: either `spec` or `error`.

    `metadata` is read from the source text (the literal `METADATA` or constants such as MODEL_ID), so that it
    is there for broken files too."""

    path: str
    spec: RuntimeSpec | None = None
    error: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def find(name: str) -> type[Runtime]:
    """The class of this name. Raises NotFound, whose sentence lists the known names."""
    if name in _imported:
        return _imported[name]
    runtime = _look_up(name)
    if runtime is None:
        raise NotFound(f"There is no runtime '{name}'; known are {', '.join(names())}.")
    _imported[name] = runtime
    return runtime


def names() -> list[str]:
    """Every name that `find` would answer (a broken plug-in included), built-ins first."""
    return list(dict.fromkeys([*BUILT_IN, *_plugins(), *_discovered]))


def specs() -> list[RuntimeSpec]:
    """The specs of all runtimes that can be imported; `list_all` has the others, too."""
    return [runtime.spec for _, runtime, _ in _all() if runtime]


def list_all(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Everything that a process with these folders can or could run: built-ins, plug-ins, files; plain data.

    Each with `name` ("" when it is broken), `spec` (a RuntimeSpec as a dict), `origin`, `error` and
    `metadata`.
    """
    files = discover(folders)
    names_of_files = {report.spec.name for report in files if report.spec}
    others = [
        Discovered(_origin(name), runtime.spec if runtime else None, error)
        for name, runtime, error in _all()
        if name not in names_of_files
    ]
    return [
        {
            "name": report.spec.name if report.spec else "",
            "spec": asdict(report.spec) if report.spec else {},
            "origin": report.path,
            "error": report.error,
            "metadata": report.metadata,
        }
        for report in [*others, *files]
    ]


def _origin(name: str) -> str:
    """Where a runtime that is not from a file comes from."""
    return BUILT_IN_ORIGIN if name in BUILT_IN else f"plug-in {name}"


def discover(folders: Sequence[Path]) -> list[Discovered]:
    """Imports every runtime file under the folders, registers its classes and reports each one.

    A broken file costs nobody anything but itself. Calling it again imports changed files anew.
    """
    _discovered.clear()
    for name in [name for name in _imported if name not in BUILT_IN]:
        del _imported[name]
    return [report for path in _files(folders) for report in _discover_file(path)]


def _all() -> Iterator[tuple[str, type[Runtime] | None, str]]:
    for name in names():
        try:
            yield name, find(name), ""
        except Exception as error:  # noqa: BLE001 - a broken runtime is listed with its error
            yield name, None, _sentence(error)


def _look_up(name: str) -> type[Runtime] | None:
    if target := BUILT_IN.get(name):
        module, _, attribute = target.partition(":")
        runtime: type[Runtime] = getattr(importlib.import_module(module), attribute)
        return runtime
    if point := _plugins().get(name):
        return _checked(point.load(), point.value)
    return _discovered.get(name)


def _plugins() -> dict[str, EntryPoint]:
    return {
        point.name: point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in BUILT_IN
    }


def _checked(thing: object, where: str) -> type[Runtime]:
    if (
        isinstance(thing, type)
        and issubclass(thing, Runtime)
        and isinstance(getattr(thing, "spec", None), RuntimeSpec)
    ):
        return thing
    raise TypeError(f"{where} is not a Runtime with a spec")


def _files(folders: Sequence[Path]) -> list[Path]:
    paths = {path for folder in folders for pattern in FILE_PATTERNS for path in Path(folder).rglob(pattern)}
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


def _discover_file(path: Path) -> list[Discovered]:
    metadata = _metadata(path)
    try:
        classes = _classes(_import(path), path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - listed with its error
        return [Discovered(str(path), error=_sentence(error), metadata=metadata)]
    return [_register(runtime, path, metadata) for runtime in classes]


def _register(runtime: type[Runtime], path: Path, metadata: dict[str, Any]) -> Discovered:
    name = runtime.spec.name
    if name in names():
        return Discovered(
            str(path), error=f"the name '{name}' is taken by another runtime", metadata=metadata
        )
    _discovered[name] = runtime
    return Discovered(str(path), spec=runtime.spec, metadata=metadata)


def _import(path: Path) -> ModuleType:
    """The file as a module of its own name, so that two files called alike do not meet in sys.modules."""
    name = f"lovage_discovered_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look the module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:  # the half-made module is removed, then it is raised on
        del sys.modules[name]
        raise
    return module


def _classes(module: ModuleType, path: Path) -> list[type[Runtime]]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    classes = [
        _checked(value, f"{path.name}:{value.__name__}")
        for value in own
        if isinstance(value, type) and issubclass(value, Runtime) and not value.__name__.startswith("_")
    ]
    if not classes:
        raise TypeError("the file defines no Runtime class")
    return classes


def _metadata(path: Path) -> dict[str, Any]:
    """Literals assigned at the top of the file: `METADATA = {...}` and MODEL_ID, ARCHITECTURE, TASK,
    HARDWARE, …"""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return {}
    literals = dict(_literals(tree))
    whole = literals.get("metadata")
    chosen = {name: literals[name] for name in METADATA_NAMES if name in literals}
    return {**(whole if isinstance(whole, dict) else {}), **chosen}


def _literals(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id.lower(), ast.literal_eval(node.value)
            except (ValueError, TypeError, MemoryError, RecursionError):
                continue


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
