"""The schemas of a `predictor.py`, read from its source text by its annotations; the code is never run.

Understood: str, int, float, bool, dict, list[…], Literal[…], Optional and `| None`, Path and File (a file), with literal
defaults; `Annotated[T, {"description": …, "minimum": …}]` adds JSON Schema words. A predict that yields, or is annotated
as an iterator, streams.
"""

import ast
from typing import Any

Schema = dict[str, Any]
BOUND = 2**53
SIMPLE: dict[str, Schema] = {
    "str": {"type": "string", "maxLength": 1_000_000},
    "int": {"type": "integer", "minimum": -BOUND, "maximum": BOUND},
    "float": {"type": "number", "minimum": -1e308, "maximum": 1e308},
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
    "list": {"type": "array", "maxItems": 10_000},
    "Path": {"type": "string", "format": "uri"},
    "File": {"type": "string", "format": "uri"},
    "Any": {},
    "None": {"type": "null"},
}
ITERATORS = {"Iterator", "Generator", "Iterable"}


def schema_of(source: str) -> tuple[Schema, Schema, bool]:
    """(input schema, output schema, whether it streams). Raises ValueError with a sentence."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"predictor.py is not valid Python: line {error.lineno}: {error.msg}") from None
    function = _predict(tree)
    arguments = [arg for arg in function.args.posonlyargs + function.args.args if arg.arg != "self"]
    defaults: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults)) + list(function.args.defaults)
    pairs = [*zip(arguments, defaults, strict=True), *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)]
    properties = {arg.arg: _property(arg, default, order) for order, (arg, default) in enumerate(pairs)}
    required = [arg.arg for arg, default in pairs if default is None and not _optional(arg.annotation)]
    inputs: Schema = {"type": "object", "title": "Input", "properties": properties}
    streams = _streams(function)
    return ({**inputs, "required": required} if required else inputs), _output(function, streams), streams


def _predict(tree: ast.Module) -> ast.FunctionDef:
    """The function `predict`, at the top level or in a class named Predictor."""
    places: list[list[ast.stmt]] = [tree.body]
    places += [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Predictor"]
    for body in places:
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == "predict":
                return node
    raise ValueError("predictor.py must define a function `predict`, or a class `Predictor` that has one")


def _property(arg: ast.arg, default: ast.expr | None, order: int) -> Schema:
    found: Schema = {"title": arg.arg.replace("_", " ").capitalize(), "x-order": order, **_type(arg.annotation)}
    if default is not None:
        try:
            value = ast.literal_eval(default)
        except ValueError:
            raise ValueError(f"the default of `{arg.arg}` must be a literal") from None
        if value is not None:
            found["default"] = value
    return found


def _type(annotation: ast.expr | None) -> Schema:
    if annotation is None:
        return {}
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript):
        return _generic(_name(annotation.value), annotation.slice)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _union([annotation.left, annotation.right])
    return dict(SIMPLE.get(_name(annotation), {}))


def _generic(name: str, inside: ast.expr) -> Schema:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if name == "Literal":
        return {"enum": [ast.literal_eval(part) for part in parts]}
    if name == "Annotated":
        extra = [ast.literal_eval(part) for part in parts[1:] if isinstance(part, ast.Dict)]
        return {**_type(parts[0]), **{key: value for words in extra for key, value in words.items()}}
    if name in ("Optional", "Union"):
        return _union(list(parts))
    if name in ("list", "List", "Sequence"):
        return {"type": "array", "items": _type(parts[0]), "maxItems": 10_000}
    return {"type": "object"} if name in ("dict", "Dict", "Mapping") else {}


def _union(parts: list[ast.expr]) -> Schema:
    schemas = [_type(part) for part in parts if not _is_none(part)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _optional(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.BinOp):
        return _is_none(annotation.right) or _is_none(annotation.left)
    return isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Optional"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and node.value is None:
        return "None"
    return node.id if isinstance(node, ast.Name) else ""


def _streams(function: ast.FunctionDef) -> bool:
    returns = function.returns
    annotated = isinstance(returns, ast.Subscript) and _name(returns.value) in ITERATORS
    return annotated or any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))


def _output(function: ast.FunctionDef, streams: bool) -> Schema:
    returns = function.returns
    if not streams:
        return {"title": "Output", **_type(returns)}
    inside = returns.slice if isinstance(returns, ast.Subscript) else None
    first = inside.elts[0] if isinstance(inside, ast.Tuple) else inside
    return {"type": "array", "title": "Output", "items": _type(first), "x-cog-array-type": "iterator"}
