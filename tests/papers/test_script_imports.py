"""Scripts that no other test runs still find what they import: nobody notices before the next measurement."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def path_of(module: str) -> Path | None:
    """Its file; None: it is not one of ours."""
    if module.partition(".")[0] not in ("app", "scripts"):
        return None
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def names_in(path: Path) -> set[str]:
    """What a module has at its top level, under `if` and `try` too; and its submodules."""
    names = {each.stem for each in path.parent.iterdir()} if path.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def missing_imports(script: Path) -> list[str]:
    missing = []
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (path := path_of(node.module or "")):
            continue
        there = names_in(path) if path.is_file() else set()
        missing += [f"{node.module}.{each.name}" for each in node.names if each.name not in there]
    return missing


def test_what_scripts_import_is_there() -> None:
    missing = {str(script): missing_imports(script) for script in (ROOT / "scripts").rglob("*.py")}
    assert len(missing) > 40
    assert {script: names for script, names in missing.items() if names} == {}


def test_an_import_of_what_is_gone_is_seen(tmp_path: Path) -> None:
    script = tmp_path / "bench.py"
    script.write_text(
        "from app.db.claims import by_ids, oldest\nfrom app.gone import x\nfrom os import path\n"
    )
    assert missing_imports(script) == ["app.db.claims.oldest", "app.gone.x"]
