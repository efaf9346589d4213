"""How a model's inputs and outputs, which are JSON by their schemas, are tensors of the Open Inference
Protocol, and the other way round. Pure.

An input is a tensor of its name: a number, a text or a flag is a tensor of one element, a list has a
dimension for each level, an object is a text that holds JSON. A model whose one input is `tensors` (an ONNX
graph) takes them by the graph's own names. A request is one prediction.
"""

import json
import math
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.tensors import BYTES, FLOATS, Tensor, WrongTensor, flatten, nest, require_length

OUTPUT = "output"  # the name of an output that has none
GRAPH = "tensors"  # the input of models that take tensors by names of their own
JsonObject = dict[str, Any]
SCALARS = {"string": BYTES, "integer": "INT64", "number": "FP32", "boolean": "BOOL", "object": BYTES}
LARGEST_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """As the protocol describes a model's inputs and outputs: -1 is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False


def describe_inputs(schema: JsonObject) -> list[TensorMetadata]:
    """The tensors that a model takes."""
    required = set(schema.get("required", ()))
    alternatives = [name for way in schema.get("oneOf", ()) for name in way.get("required", ())]
    return [
        TensorMetadata(name, *_form_of(field), name not in required and name not in alternatives)
        for name, field in schema.get("properties", {}).items()
    ]


def describe_outputs(schema: JsonObject, *, streams: bool) -> list[TensorMetadata]:
    """The tensors that it answers with, as far as its schema says."""
    if properties := schema.get("properties"):
        return [TensorMetadata(name, *_form_of(field)) for name, field in properties.items()]
    if streams and _is_text(schema):
        return [TensorMetadata(OUTPUT, BYTES, (1,))]
    return [TensorMetadata(OUTPUT, *_form_of(schema))]


def _is_text(schema: JsonObject) -> bool:
    choices = schema.get("anyOf") or [schema]
    return any(choice.get("x-cog-array-display") == "concatenate" for choice in choices)


def _form_of(field: JsonObject) -> tuple[str, tuple[int, ...]]:
    """Datatype and shape; of several choices those of the first that is not null."""
    choices = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
    field, depth = choices[0] if choices else field, 0
    while _kind_of(field) == "array":
        items = field.get("items") or {}
        field, depth = (items.get("anyOf") or [items])[0], depth + 1
    return SCALARS.get(_kind_of(field), BYTES), (-1,) * depth or (1,)


def _kind_of(field: JsonObject) -> str:
    kind = field.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), None)
    return str(kind or "")


def input_from(schema: JsonObject, tensors: Sequence[Tensor], others: Mapping[str, Any]) -> JsonObject:
    """A model's input. `others` are inputs that came as parameters. Raises WrongTensor, whose sentence begins
    with the tensor's name."""
    properties: JsonObject = schema.get("properties", {})
    values: JsonObject = {}
    for tensor in tensors:
        try:
            require_length(tensor.shape, tensor.data)
            target = values
            if tensor.name not in properties and takes_graph(properties):
                target = values.setdefault(GRAPH, {})
            if tensor.name in target or tensor.name in others:
                raise WrongTensor("is given twice")
            field = {} if target is not values else properties.get(tensor.name, {})
            target[tensor.name] = _value_of(tensor, field, is_graph=target is not values)
        except WrongTensor as wrong:
            raise WrongTensor(f"{tensor.name[:100]}: {wrong}") from None
    return {**others, **values}


def takes_graph(properties: JsonObject) -> bool:
    """Whether a model of these inputs takes tensors by names of its own."""
    return _kind_of(properties.get(GRAPH, {})) == "object"


def _value_of(tensor: Tensor, field: JsonObject, *, is_graph: bool) -> Any:
    if is_graph:
        return nest(tensor.data, tensor.shape)
    choices = [each for each in field.get("anyOf") or [field] if each.get("type") != "null"]
    depths = {depth: kind for depth, kind in map(_depth_and_kind, reversed(choices))}
    shape = _fit(tensor, depths)
    kind = depths.get(len(shape), "")
    data = _as_objects(tensor) if kind == "object" and tensor.datatype == BYTES else tensor.data
    return nest(data, shape)


def _depth_and_kind(field: JsonObject) -> tuple[int, str]:
    """How many levels of lists, and what is in the innermost; a list of just anything may hold objects."""
    depth = 0
    while _kind_of(field) == "array":
        items = field.get("items") or {}
        field, depth = (items.get("anyOf") or [items])[0], depth + 1
    return depth, _kind_of(field)


def _fit(tensor: Tensor, depths: Mapping[int, str]) -> tuple[int, ...]:
    """The shape with as many dimensions as the input has levels: those of size 1 may be left out. One element
    is a value by itself where the input takes that."""
    shape = tensor.shape
    if 0 in depths and math.prod(shape) == 1 and (len(shape) < 2 or len(depths) == 1):
        return ()
    if len(shape) in depths or "" in depths.values():
        return shape
    most = max(depths)
    left = list(shape)
    for size in reversed(shape):
        if len(left) > most and size == 1:
            del left[len(left) - 1 - left[::-1].index(1)]
    if len(left) in depths and left:
        return tuple(left)
    words = ("one element" if depth == 0 else f"{depth} dimensions" for depth in sorted(depths))
    dimensions = " or ".join(words)
    raise WrongTensor(f"has the shape {list(shape)}; the input takes {dimensions}")


def _as_objects(tensor: Tensor) -> list[Any]:
    try:
        return [json.loads(text) for text in tensor.data]
    except (ValueError, RecursionError):
        raise WrongTensor("must hold JSON") from None


def tensors_from(output: Any, *, is_text: bool = False) -> list[Tensor]:
    """A model's output. `is_text`: a list is the pieces of one text."""
    if isinstance(output, dict) and output and all(isinstance(name, str) for name in output):
        return [_tensor_from(name, value) for name, value in output.items()]
    if is_text and isinstance(output, list) and all(isinstance(piece, str) for piece in output):
        return [Tensor(OUTPUT, BYTES, (1,), ["".join(output)])]
    return [_tensor_from(OUTPUT, output)]


def _tensor_from(name: str, value: Any) -> Tensor:
    flat = flatten(value)
    if flat is None:
        return Tensor(name, BYTES, (1,), [_as_json(value)])
    shape, data = flat
    shape = shape or (1,)
    kinds = set(map(type, data))
    if kinds <= {str}:
        return Tensor(name, BYTES if kinds else "FP32", shape, data)
    if kinds == {bool}:
        return Tensor(name, "BOOL", shape, data)
    if kinds == {int} and max(data) <= LARGEST_INT64:
        return Tensor(name, "INT64", shape, data)
    if kinds <= {int, float}:
        return Tensor(name, _float_for(data), shape, data)
    return Tensor(name, BYTES, shape, [_as_json(element) for element in data])


def _float_for(data: Sequence[float]) -> str:
    """FP32, which is what models compute in; FP64 for what is too large for it."""
    return "FP64" if math.inf in map(abs, array("f", data)) and math.inf not in map(abs, data) else "FP32"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def choose_outputs(tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Those that were asked for, in that order; without names all. Raises WrongTensor."""
    by_name = {tensor.name: tensor for tensor in tensors}
    return [by_name[name] for name in choose_names(by_name, names)]


def choose_names(known: Collection[str], names: Sequence[str]) -> list[str]:
    """Of outputs; as `choose_outputs`."""
    if unknown := next((name for name in names if name not in known), None):
        raise WrongTensor(f"{unknown[:100]}: is not an output; there are {', '.join(known)}")
    return list(names) or list(known)


def as_elements(tensor: Tensor, datatype: str) -> list[Any]:
    """The data of a tensor that came as JSON, as its datatype has them. Raises WrongTensor."""
    kinds: set[type] = set(map(type, tensor.data))
    numbers: set[type] = {int, float} if datatype in FLOATS else {int}
    others: dict[str, set[type]] = {BYTES: {str}, "BOOL": {bool, int}}
    if not kinds <= others.get(datatype, numbers):
        raise WrongTensor(f"holds what is no {datatype}")
    return list(map(bool, tensor.data)) if datatype == "BOOL" else tensor.data
