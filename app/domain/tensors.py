"""Tensors of the Open Inference Protocol (KServe's v2): their datatypes, their bytes, their shapes.

A tensor's data are a flat list in row-major order; on the wire they are that list, or little-endian bytes.
Texts (BYTES) are each four bytes of length and UTF-8. Knows no model.
"""

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MOST_DIMENSIONS = 32
LENGTH = struct.Struct("<I")  # before each element of BYTES
BYTES = "BYTES"
# What `array` calls them; FP16 has no array, BYTES no size.
CODES = {
    "BOOL": "b",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP32": "f",
    "FP64": "d",
}
HALF = "FP16"
DATATYPES = (*CODES, HALF, BYTES)
FLOATS = frozenset({"FP16", "FP32", "FP64"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """`data` flat; of BYTES they are texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any]


class WrongTensor(ValueError):
    """What is wrong with a tensor: goes on after its name, without a full stop."""


def count_elements(shape: Sequence[int]) -> int:
    """How many a tensor of this shape has. Raises WrongTensor for what is no shape."""
    if len(shape) > MOST_DIMENSIONS:
        raise WrongTensor(f"has {len(shape)} dimensions; {MOST_DIMENSIONS} are the most")
    if any(size < 0 for size in shape):
        raise WrongTensor(f"has the shape {list(shape)}; every size must be known")
    return math.prod(shape)


def require_datatype(datatype: str) -> None:
    """Raises WrongTensor for one that the protocol does not have."""
    if datatype not in DATATYPES:
        raise WrongTensor(f"has the datatype {datatype[:40]!r}; there are {', '.join(DATATYPES)}")


def require_length(shape: Sequence[int], data: Sequence[Any]) -> None:
    """Raises WrongTensor unless there are as many elements as the shape says."""
    count = count_elements(shape)
    if len(data) != count:
        raise WrongTensor(f"has {len(data)} elements; its shape {list(shape)} has {count}")


def decode_raw(datatype: str, raw: bytes | memoryview) -> list[Any]:
    """The elements of a tensor's bytes. Raises WrongTensor."""
    require_datatype(datatype)
    if datatype == BYTES:
        return _decode_texts(memoryview(raw))
    size = 2 if datatype == HALF else array(CODES[datatype]).itemsize
    if len(raw) % size:
        raise WrongTensor(f"has {len(raw)} bytes, which is no multiple of {size} as {datatype} needs")
    if datatype == HALF:
        return list(struct.unpack(f"<{len(raw) // size}e", raw))
    values = array(CODES[datatype])
    values.frombytes(raw)
    if sys.byteorder == "big":
        values.byteswap()
    return list(map(bool, values)) if datatype == "BOOL" else values.tolist()


def _decode_texts(raw: memoryview) -> list[str]:
    texts: list[str] = []
    start, end = 0, len(raw)
    while start < end:
        if start + LENGTH.size > end:
            raise WrongTensor("ends amid the length of an element")
        (size,) = LENGTH.unpack_from(raw, start)
        start += LENGTH.size
        if start + size > end:
            raise WrongTensor(f"has an element of {size} bytes, of which {end - start} are there")
        texts.append(as_text(raw[start : start + size]))
        start += size
    return texts


def as_text(element: bytes | memoryview | str) -> str:
    """An element of BYTES. Raises WrongTensor for what is no text."""
    if isinstance(element, str):
        return element
    try:
        return str(element, "utf-8")
    except UnicodeDecodeError:
        raise WrongTensor("must hold texts in UTF-8; send files by their URLs or as data URIs") from None


def encode_raw(tensor: Tensor) -> bytes:
    """The bytes of a tensor's data."""
    if tensor.datatype == BYTES:
        elements = [text.encode() for text in tensor.data]
        return b"".join(part for element in elements for part in (LENGTH.pack(len(element)), element))
    if tensor.datatype == HALF:
        return struct.pack(f"<{len(tensor.data)}e", *tensor.data)
    values = array(CODES[tensor.datatype], tensor.data)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def nest(data: Sequence[Any], shape: Sequence[int]) -> Any:
    """Flat data as lists in lists; of no dimension, the element itself."""
    if not shape:
        return data[0]
    rows = list(data)
    for size in reversed(shape[1:]):
        rows = [rows[start : start + size] for start in range(0, len(rows), size)] if size else []
    return rows if math.prod(shape) else _empty(shape)


def _empty(shape: Sequence[int]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else []


def flatten(value: Any) -> tuple[tuple[int, ...], list[Any]] | None:
    """Shape and elements of lists in lists; None where they are of different lengths or depths."""
    if not isinstance(value, list):
        return (), [value]
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list):
        size = len(level[0])
        if any(not isinstance(row, list) or len(row) != size for row in level):
            return None
        shape.append(size)
        level = level[0] if len(level) == 1 else [item for row in level for item in row]
    return None if _holds_a_list(level) else (tuple(shape), level)


def _holds_a_list(level: Iterable[Any]) -> bool:
    return list in set(map(type, level))
