"""Sizes of functions, classes, modules and lines of `app/`, its broad excepts and its initialisers.

Each measure yields what is over its bar. Knows no rule of ruff: those are `make check`'s own.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTION_LINES = 40  # from `def` to its last line, docstring included
CLASS_LINES = 200
PUBLIC_METHODS = 15  # properties count; what begins with an underscore does not
MODULE_LINES = 400
COLUMNS = 110
FORMAT_SKIPS = 10
GENERATED = "_pb2.py"  # by protoc
INITIALISED_AT_ONCE = 2  # `a, b, c = x, y, z` hides what each begins with
BROAD_TYPES = ("Exception", "BaseException")
REASON = re.compile(r"#\s*(noqa: BLE001 - )?(?!noqa)\S+ \S+")  # two words at the least


@dataclass(frozen=True, slots=True)
class Over:
    """`where` is a path, with `:line` where there is one, or `path:Class`; `value` what was measured."""

    where: str
    value: int
    bar: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.value}, at most {self.bar}"


@dataclass(frozen=True, slots=True)
class Module:
    path: str
    source: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.source.splitlines()


def read(root: Path, folder: str = "app") -> list[Module]:
    """All modules of a folder."""
    files = sorted(file for file in (root / folder).rglob("*.py") if not file.name.endswith(GENERATED))
    sources = [(str(file.relative_to(root)), file.read_text()) for file in files]
    return [Module(path, source, ast.parse(source)) for path, source in sources]


def functions(module: Module) -> Iterator[Over]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = length(node)
            if size > FUNCTION_LINES:
                yield Over(f"{module.path}:{node.name}", size, FUNCTION_LINES, "lines of a function")


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def classes(module: Module) -> Iterator[Over]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        where, size, methods = f"{module.path}:{node.name}", length(node), len(public_methods(node))
        if size > CLASS_LINES:
            yield Over(where, size, CLASS_LINES, "lines of a class")
        if methods > PUBLIC_METHODS:
            yield Over(where, methods, PUBLIC_METHODS, "public methods")


def public_methods(node: ast.ClassDef) -> set[str]:
    """Names, so that a property and its setter count once."""
    return {
        child.name
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_")
    }


def modules(module: Module) -> Iterator[Over]:
    size = len(module.lines)
    if size > MODULE_LINES:
        yield Over(module.path, size, MODULE_LINES, "lines of a module")


def columns(module: Module) -> Iterator[Over]:
    for number, line in enumerate(module.lines, 1):
        if len(line) > COLUMNS:
            yield Over(f"{module.path}:{number}", len(line), COLUMNS, "columns")


def excepts(module: Module) -> Iterator[Over]:
    """Broad ones whose line gives no reason."""
    for node in broad_excepts(module):
        if not REASON.search(module.lines[node.lineno - 1]):
            yield Over(f"{module.path}:{node.lineno}", 1, 0, "broad except without its reason on the line")


def broad_excepts(module: Module) -> Iterator[ast.ExceptHandler]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type):
            yield node


def is_broad(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Tuple():
            return any(is_broad(each) for each in kind.elts)
        case ast.Name():
            return kind.id in BROAD_TYPES
    return False


def initialisers(module: Module) -> Iterator[Over]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and len(target.elts) > INITIALISED_AT_ONCE:
                    where = f"{module.path}:{node.lineno}"
                    yield Over(where, len(target.elts), INITIALISED_AT_ONCE, "names initialised at once")


def format_skips(all_modules: list[Module]) -> Iterator[Over]:
    """One bar for all of them together."""
    count = count_format_skips(all_modules)
    if count > FORMAT_SKIPS:
        yield Over("app", count, FORMAT_SKIPS, "places where formatting is off")


def count_format_skips(all_modules: list[Module]) -> int:
    return sum(len(re.findall(r"#\s*fmt: (?:skip|off)", module.source)) for module in all_modules)


def longest_function(all_modules: list[Module]) -> int:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for module in all_modules for node in ast.walk(module.tree) if isinstance(node, kinds))
    return max(length(node) for node in nodes)


def largest_class(all_modules: list[Module]) -> tuple[int, int]:
    """Most lines and most public methods, of whichever classes."""
    nodes = [
        node for module in all_modules for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
    ]
    return max(map(length, nodes)), max(len(public_methods(node)) for node in nodes)


EACH: dict[str, Callable[[Module], Iterator[Over]]] = {
    "functions": functions,
    "classes": classes,
    "modules": modules,
    "columns": columns,
    "excepts": excepts,
    "initialisers": initialisers,
}


def measure(all_modules: list[Module]) -> dict[str, list[Over]]:
    """What is over its bar, by measure."""
    over = {name: [each for module in all_modules for each in check(module)] for name, check in EACH.items()}
    return over | {"format skips": list(format_skips(all_modules))}
