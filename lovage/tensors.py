"""Tensors of the Open Inference Protocol: raw bytes, little-endian, with a datatype and a shape."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from app.domain import tensors as protocol
from lovage.errors import Refused


@dataclass(frozen=True, slots=True)
class Tensor:
    """`datatype`: FP32, INT64, BYTES, …"""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, name: str, datatype: str, values: Sequence[Any], shape: Sequence[int] | None = None) -> Self:
        """Of flat values; texts for BYTES. Without a shape it has one dimension. Raises Refused."""
        dimensions = tuple(shape) if shape is not None else (len(values),)
        try:
            protocol.require_datatype(datatype)
            protocol.require_length(dimensions, values)
            raw = protocol.encode_raw(protocol.Tensor(name, datatype, dimensions, list(values)))
        except (protocol.WrongTensor, struct.error, TypeError, OverflowError, AttributeError) as error:
            raise Refused(f"{name}: {error}", code="invalid_argument") from None
        return cls(name, datatype, dimensions, raw)

    @classmethod
    def of_array(cls, name: str, array: Any) -> Self:
        """Of a numpy array of numbers. Raises Refused."""
        datatype = NAMES.get(str(array.dtype))
        if datatype is None:
            raise Refused(f"{name}: {array.dtype} is no datatype of the protocol", code="invalid_argument")
        return cls(name, datatype, tuple(array.shape), array.tobytes())

    @property
    def values(self) -> list[Any]:
        """Flat. Raises Refused for bytes that are none of the datatype."""
        try:
            return protocol.decode_raw(self.datatype, self.raw)
        except protocol.WrongTensor as error:
            raise Refused(f"{self.name}: {error}", code="data_loss") from None

    def array(self) -> Any:
        """As a numpy array, which cannot be written to. Raises Refused for texts."""
        import numpy

        name = next((name for name, datatype in NAMES.items() if datatype == self.datatype), None)
        if name is None:
            raise Refused(f"{self.name} is {self.datatype}: read its `values`", code="invalid_argument")
        return numpy.frombuffer(self.raw, name).reshape(self.shape)


NAMES = {  # by numpy's
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
