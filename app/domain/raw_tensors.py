"""Tensors that stay bytes on their way, and what is written down of them. Knows no model and no numpy.

A call's tensors of up to KEPT_BYTES together are recorded as lists in lists, as if they had come as JSON; of
more only the form is: datatype, shape, bytes.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.tensors import CODES, HALF, WrongTensor, count_elements, decode_raw, nest

KEPT_BYTES = 100_000
TENSOR_KEY = "$tensor"  # of an object that stands for a tensor whose values are not kept
SIZES = {HALF: 2, **{datatype: array(code).itemsize for datatype, code in CODES.items()}}
Buffer = bytes | bytearray | memoryview


class RawTensor:
    """Numbers or flags, little-endian, in row-major order. No dataclass: orjson would write it down."""

    __slots__ = ("data", "datatype", "shape")

    def __init__(self, datatype: str, shape: Sequence[int], data: Buffer) -> None:
        """Raises WrongTensor unless there are as many bytes as the shape says."""
        self.datatype, self.data = datatype, data
        self.shape = tuple(shape)
        if len(data) != (needed := count_elements(self.shape) * SIZES[datatype]):
            raise WrongTensor(
                f"has {len(data)} bytes; {datatype} of the shape {list(self.shape)} has {needed}"
            )

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"RawTensor({self.datatype}, {self.shape})"

    def as_lists(self) -> Any:
        """Lists in lists; of no dimension, the element itself."""
        return nest(decode_raw(self.datatype, bytes(self.data)), self.shape)

    def form(self) -> dict[str, Any]:
        """What stands for it where its values are not kept."""
        return {TENSOR_KEY: {"datatype": self.datatype, "shape": list(self.shape), "bytes": len(self)}}


RawTensors = Mapping[str, RawTensor]  # by their names


def count_bytes(tensors: RawTensors) -> int:
    """Of all of them."""
    return sum(map(len, tensors.values()))


def as_recorded(tensors: RawTensors) -> dict[str, Any]:
    """What is written down of a call's inputs, or of its outputs."""
    if count_bytes(tensors) > KEPT_BYTES:
        return {name: tensor.form() for name, tensor in tensors.items()}
    return as_lists(tensors)


def as_lists(tensors: RawTensors) -> dict[str, Any]:
    """As JSON."""
    return {name: tensor.as_lists() for name, tensor in tensors.items()}


def describe(tensors: RawTensors) -> list[list[Any]]:
    """Their names and forms as JSON, in the order of `buffers_of`."""
    return [[name, each.datatype, each.shape] for name, each in tensors.items()]


def buffers_of(tensors: RawTensors) -> list[Buffer]:
    """Their bytes."""
    return [each.data for each in tensors.values()]


def cut(described: Sequence[Sequence[Any]], data: Buffer) -> dict[str, RawTensor]:
    """The reverse of `describe` and `buffers_of`, whose bytes lie end to end in `data`, uncopied."""
    tensors: dict[str, RawTensor] = {}
    start, whole = 0, memoryview(data)
    for name, datatype, shape in described:
        end = start + count_elements(shape) * SIZES[datatype]
        tensors[name] = RawTensor(datatype, shape, whole[start:end])
        start = end
    return tensors
