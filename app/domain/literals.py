"""What an expression in a source text is, without running it: literals, names of constants of the module, and
a few functions of them, as people write the choices and defaults of a predictor."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": list,
    "sorted": sorted,
    "set": sorted,
    "min": min,
    "max": max,
    "len": len,
}
VIEWS = ("keys", "values")


def constants_of(tree: ast.Module) -> dict[str, Any]:
    """The values of the module's names that are assigned once and are known without running it."""
    constants: dict[str, Any] = {}
    changed: set[str] = set()
    for node in tree.body:
        for name, value in _assignments(node):
            changed |= {name} & constants.keys()
            try:
                constants[name] = evaluate(value, constants)
            except ValueError:
                changed.add(name)
    return {name: value for name, value in constants.items() if name not in changed}


def _assignments(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return [(node.targets[0].id, node.value)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        return [(node.target.id, node.value)]
    return []


def evaluate(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises ValueError that names the part which would have to be run."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return _evaluate(node, constants)
    except (TypeError, LookupError, RecursionError):
        raise ValueError(_not_known(node)) from None


def _evaluate(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Subscript):
        return evaluate(node.value, constants)[evaluate(node.slice, constants)]
    if isinstance(node, ast.List | ast.Tuple):
        return [evaluate(part, constants) for part in node.elts]
    if isinstance(node, ast.Call) and not node.keywords:
        return _call(node, constants)
    raise ValueError(_not_known(node))


def _call(node: ast.Call, constants: Mapping[str, Any]) -> Any:
    if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and len(node.args) == 1:
        return FUNCTIONS[node.func.id](evaluate(node.args[0], constants))
    if isinstance(node.func, ast.Attribute) and node.func.attr in VIEWS and not node.args:
        owner = evaluate(node.func.value, constants)
        if isinstance(owner, dict):
            return list(getattr(owner, node.func.attr)())
    raise ValueError(_not_known(node))


def _not_known(node: ast.expr) -> str:
    return f"{ast.unparse(node)[:100]} is not known without running the file: write the value itself"
