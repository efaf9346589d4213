"""Small ONNX files, written byte by byte: the format is protobuf, of which three kinds of fields do."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy

FLOAT, INT64 = 1, 7  # ONNX' numbers for dtypes
Shape = Sequence[int | str]


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def value(name: str, dtype: int, shape: Shape) -> bytes:
    """An input or output."""
    sizes = [_number(1, size) if isinstance(size, int) else _bytes(2, size) for size in shape]
    dims = b"".join(_bytes(1, size) for size in sizes)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, dtype) + _bytes(2, dims)))


def tensor(name: str, array: numpy.ndarray) -> bytes:
    """A constant of 32-bit floats."""
    dims = b"".join(_number(1, size) for size in array.shape)
    content = array.astype("<f4").tobytes()
    return dims + _number(2, FLOAT) + _bytes(8, name) + _bytes(9, content)


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | Sequence[int]
) -> bytes:
    """An operation."""
    parts = [_bytes(1, name) for name in inputs] + [_bytes(2, name) for name in outputs] + [_bytes(4, kind)]
    for name, given in attributes.items():
        if isinstance(given, int):
            parts.append(_bytes(5, _bytes(1, name) + _number(3, given) + _number(20, 2)))
        else:
            numbers = b"".join(_number(8, number) for number in given)
            parts.append(_bytes(5, _bytes(1, name) + numbers + _number(20, 7)))
    return b"".join(parts)


def write(
    file: Path,
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
) -> Path:
    graph = b"".join(_bytes(1, each) for each in nodes) + _bytes(2, "graph")
    graph += b"".join(_bytes(5, each) for each in constants)
    graph += b"".join(_bytes(11, each) for each in inputs) + b"".join(_bytes(12, each) for each in outputs)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 13)))
    return file


def encoder(file: Path, matrix: numpy.ndarray) -> Path:
    """Token ids to rows of a matrix: the simplest of encoders."""
    ids = [value(name, INT64, ("rows", "tokens")) for name in ("input_ids", "attention_mask")]
    hidden = value("last_hidden_state", FLOAT, ("rows", "tokens", matrix.shape[1]))
    lookup = node("Gather", ["matrix", "input_ids"], ["last_hidden_state"])
    return write(file, [lookup], [tensor("matrix", matrix)], ids, [hidden])


def scorer(file: Path, matrix: numpy.ndarray) -> Path:
    """The mean of its tokens' numbers as a logit; the mask counts."""
    ids = [
        value(name, INT64, ("rows", "tokens")) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    nodes = [
        node("Gather", ["matrix", "input_ids"], ["each"]),
        node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        node("Mul", ["each", "mask"], ["masked"]),
        node("ReduceMean", ["masked"], ["logits"], axes=[1], keepdims=1),
    ]
    return write(file, nodes, [tensor("matrix", matrix)], ids, [value("logits", FLOAT, ("rows", 1))])


def adder(file: Path) -> Path:
    """x + y and x - y, of three numbers a row."""
    shape: Shape = ("rows", 3)
    nodes = [node("Add", ["x", "y"], ["sum"]), node("Sub", ["x", "y"], ["difference"])]
    inputs = [value(name, FLOAT, shape) for name in ("x", "y")]
    return write(file, nodes, [], inputs, [value(name, FLOAT, shape) for name in ("sum", "difference")])


def infinity() -> float:
    """As JSON cannot have it."""
    return struct.unpack("<f", b"\x00\x00\x80\x7f")[0]  # type: ignore[no-any-return]
