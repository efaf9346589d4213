"""The schemas of a `predictor.py`, read from its source text by its annotations; the code is never run.

Understood: str, int, float, bool, dict, list[…], Literal[…], Optional and `| None`, Path and File (a file),
with defaults and choices that are literals or constants of the module (literals.py).
`Annotated[T, {"description": …, "minimum": …}]` adds JSON Schema words; so do `Annotated[T, Field(ge=…)]` and
a default `Input(default=…, description=…, ge=…, le=…, choices=[…])`, as in pydantic and cog. A predict that
yields, or is annotated as an iterator, streams. It knows no file and no runtime.
"""

import ast
from collections.abc import Iterator
from typing import Any

from app.domain.literals import constants_of, evaluate

Constants = dict[str, Any]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Schema = dict[str, Any]
MISSING = object()
BOUND = 2**53
SIMPLE: dict[str, Schema] = {
    "str": {"type": "string", "maxLength": 1_000_000},
    "int": {"type": "integer", "minimum": -BOUND, "maximum": BOUND},
    "float": {"type": "number", "minimum": -1e308, "maximum": 1e308},
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "list": {"type": "array", "maxItems": 10_000},
    "List": {"type": "array", "maxItems": 10_000},
    "Path": {"type": "string", "format": "uri"},
    "File": {"type": "string", "format": "uri"},
    "Any": {},
    "None": {"type": "null"},
}
TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}
ITERATORS = {"Iterator", "Generator", "Iterable", "ConcatenateIterator"}
ITERATORS |= {"AsyncIterator", "AsyncGenerator", "AsyncConcatenateIterator"}
FIELDS = {"Field", "Input"}
CONTEXT = "Context"  # an argument of this type is the platform's
WORDS = {
    "title": "title",
    "description": "description",
    "examples": "examples",
    "pattern": "pattern",
    "regex": "pattern",
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "choices": "enum",
}
LIST_WORDS = {"minLength": "minItems", "maxLength": "maxItems"}


def read_schemas(source: str) -> tuple[Schema, Schema, bool]:
    """(input schema, output schema, whether it streams). Raises ValueError with a sentence."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"predictor.py is not valid Python: line {error.lineno}: {error.msg}") from None
    function, constants = _predict(tree), constants_of(tree)
    properties: dict[str, Schema] = {}
    required = []
    for order, (arg, default) in enumerate(_arguments(function)):
        properties[arg.arg], needed = _property(arg, default, order, constants)
        required += [arg.arg] if needed else []
    inputs: Schema = {"type": "object", "title": "Input", "properties": properties}
    streams = _streams(function)
    return ({**inputs, "required": required} if required else inputs), _output(function, streams), streams


def _predict(tree: ast.Module) -> Function:
    """The function `predict`, in a class named Predictor or at the top level."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Predictor"]
    for body in [*(node.body for node in classes), tree.body]:
        for node in body:
            if isinstance(node, Function) and node.name == "predict":
                return node
    raise ValueError("predictor.py must define a function `predict`, or a class `Predictor` that has one")


def _arguments(function: Function) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Each argument with its default, in order, without `self`."""
    args = function.args
    if args.vararg or args.kwarg or args.posonlyargs:
        raise ValueError("`predict` must name its arguments: no *args, **kwargs or positional-only ones")
    missing = len(args.args) - len(args.defaults)
    pairs = [*zip(args.args, [*[None] * missing, *args.defaults], strict=True)]
    pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
    own = pairs[1:] if pairs and pairs[0][0].arg == "self" else pairs
    yield from (pair for pair in own if not _is_context(pair[0].annotation))


def _is_context(annotation: ast.expr | None) -> bool:
    """Whether the platform gives the argument: it is no input."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.rpartition(".")[2] == CONTEXT
    return annotation is not None and _name(annotation) == CONTEXT


def _property(
    arg: ast.arg, default: ast.expr | None, order: int, constants: Constants
) -> tuple[Schema, bool]:
    """(schema, whether a value is required)."""
    try:
        schema: Schema = {
            "title": arg.arg.replace("_", " ").capitalize(),
            **_type(arg.annotation),
            "x-order": order,
        }
        if default is not None:
            _add_default(schema, default, constants)
    except ValueError as error:
        raise ValueError(f"`{arg.arg}`: {error}") from None
    except (TypeError, SyntaxError, RecursionError):
        raise ValueError(
            f"`{arg.arg}`: its annotation and its default must be literals of known types"
        ) from None
    value = schema.get("default", MISSING)
    if value is None:
        del schema["default"]
        schema["nullable"] = True
    return schema, value is MISSING and not schema.get("nullable")


def _add_default(schema: Schema, default: ast.expr, constants: Constants) -> None:
    if isinstance(default, ast.Call) and _name(default.func) in FIELDS:
        _add_words(schema, _words(default, constants))
    else:
        schema["default"] = evaluate(default, constants)


def _words(call: ast.Call, constants: Constants) -> Schema:
    """What `Field(…)` or `Input(…)` says, as JSON Schema; words that are not known are left out."""
    values = {word.arg: word.value for word in call.keywords if word.arg}
    if call.args:
        values["default"] = call.args[0]
    words = {WORDS[name]: evaluate(value, constants) for name, value in values.items() if name in WORDS}
    if "default" in values and (default := evaluate(values["default"], constants)) is not ...:
        words["default"] = default
    return {name: value for name, value in words.items() if value is not None or name == "default"}


def _add_words(schema: Schema, words: Schema) -> None:
    is_list = schema.get("type") == "array"
    for name, value in words.items():
        schema[LIST_WORDS.get(name, name) if is_list else name] = value


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
        return _choice([ast.literal_eval(part) for part in parts])
    if name == "Annotated":
        return _annotated(parts[0], parts[1:])
    if name == "Optional":
        return {**_type(parts[0]), "nullable": True}
    if name == "Union":
        return _union(list(parts))
    if name in ("list", "List", "Sequence"):
        return {"type": "array", "items": _type(parts[0]), "maxItems": 10_000}
    return {"type": "object"} if name in ("dict", "Dict", "Mapping") else {}


def _choice(values: list[Any]) -> Schema:
    """An enumeration; of one type it says which, so that a command line can read it."""
    kinds = {TYPE_NAMES.get(type(value), "") for value in values}
    return {"type": kinds.pop(), "enum": values} if len(kinds) == 1 and "" not in kinds else {"enum": values}


def _annotated(inner: ast.expr, notes: list[ast.expr]) -> Schema:
    schema = _type(inner)
    for note in notes:
        if isinstance(note, ast.Dict):
            schema |= ast.literal_eval(note)
        elif isinstance(note, ast.Call) and _name(note.func) in FIELDS:
            _add_words(schema, _words(note, {}))
        elif isinstance(note, ast.Constant) and isinstance(note.value, str):
            schema["description"] = note.value
    return schema


def _union(parts: list[ast.expr]) -> Schema:
    schemas = [_type(part) for part in parts if not _is_none(part)]
    schema: Schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {**schema, "nullable": True} if len(schemas) < len(parts) else schema


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if _is_none(node):
        return "None"
    return node.id if isinstance(node, ast.Name) else ""


def _streams(function: Function) -> bool:
    returns = function.returns
    annotated = isinstance(returns, ast.Subscript) and _name(returns.value) in ITERATORS
    return annotated or any(_yields(node) for node in function.body)


def _yields(node: ast.AST) -> bool:
    """Whether a yield belongs to this statement itself and not to a function inside it."""
    if isinstance(node, ast.Yield | ast.YieldFrom):
        return True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return False
    return any(_yields(child) for child in ast.iter_child_nodes(node))


def _output(function: Function, streams: bool) -> Schema:
    """Sizes of outputs are nobody's limit, so bounds are left out."""
    returns = function.returns
    if not streams:
        return {"title": "Output", **_without_bounds(_type(returns))}
    inside = returns.slice if isinstance(returns, ast.Subscript) else None
    first = inside.elts[0] if isinstance(inside, ast.Tuple) else inside
    schema: Schema = {"type": "array", "title": "Output", "items": _without_bounds(_type(first))}
    schema["x-cog-array-type"] = "iterator"
    if isinstance(returns, ast.Subscript) and _name(returns.value) == "ConcatenateIterator":
        schema["x-cog-array-display"] = "concatenate"
    return schema


def _without_bounds(schema: Schema) -> Schema:
    return {
        name: value
        for name, value in schema.items()
        if name not in ("minimum", "maximum", "maxLength", "maxItems")
    }
