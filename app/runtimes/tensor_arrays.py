"""Tensors of bytes as numpy's arrays and the other way round, without a copy where there need be none. Knows
no model."""

from typing import Any

from app.domain.raw_tensors import RawTensor

DATATYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
NAMES = {datatype: name for name, datatype in DATATYPES.items()}


def array_of(tensor: RawTensor) -> Any:
    """The same bytes; flags are looked at, as any but 0 is true."""
    import numpy

    if tensor.datatype == "BOOL":
        return (numpy.frombuffer(tensor.data, "uint8") != 0).reshape(tensor.shape)
    dtype = numpy.dtype(NAMES[tensor.datatype]).newbyteorder("<")
    return numpy.frombuffer(tensor.data, dtype).reshape(tensor.shape)


def tensor_of(array: Any) -> RawTensor | None:
    """None for what is no array of numbers or flags."""
    import numpy

    if not isinstance(array, numpy.ndarray) or array.dtype.name not in DATATYPES:
        return None
    plain = numpy.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = memoryview(plain.reshape(-1).view("uint8")) if array.size else b""
    return RawTensor(DATATYPES[array.dtype.name], array.shape, data)
