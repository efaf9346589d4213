"""Whether an answer holds only finite numbers. NaN and infinity are no JSON: they would be stored as null,
and nobody would know before a search over an index goes wrong."""

import math
from collections.abc import Sequence
from typing import Any

from app.domain.raw_tensors import RawTensor
from app.runtimes.tensor_arrays import array_of

NOT_FINITE = (
    "the model's answer is not finite: it has NaN or infinite numbers, as broken weights or too small a dtype"
    " give"
)


def is_finite(value: Any) -> bool:
    """Of JSON, and of arrays and tensors within it."""
    if isinstance(value, str):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return _are_finite(value)
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if hasattr(value, "isfinite"):  # torch
        return bool(value.isfinite().all())
    array = array_of(value) if isinstance(value, RawTensor) else value
    return not hasattr(array, "dtype") or _is_finite_array(array)


def _are_finite(values: Sequence[Any]) -> bool:
    if values and isinstance(values[0], float):
        try:
            return all(map(math.isfinite, values))
        except TypeError:  # not all of them are numbers
            pass
    return all(map(is_finite, values))


def _is_finite_array(array: Any) -> bool:
    import numpy

    if array.dtype.kind not in "fc":
        return True
    with numpy.errstate(all="ignore"):  # a finite sum is quick to see; it may overflow without being wrong
        return bool(numpy.isfinite(array.sum()) or numpy.isfinite(array).all())


def rows_not_finite(logits: Any) -> list[int]:
    """The rows of (rows, numbers) whose largest number is NaN or infinite: of those, nothing can be chosen. A
    model may rule numbers out by minus infinity."""
    finite: list[bool] = logits.amax(-1).isfinite().tolist()
    return [row for row, is_good in enumerate(finite) if not is_good]


def refuse_not_finite(net: Any) -> None:
    """From now on a forward pass of this network raises RuntimeError when its output is not finite: a task's
    later steps would make a word or a label of NaN."""
    net.register_forward_hook(_check_output)


def _check_output(_net: Any, _inputs: Any, output: Any) -> None:
    for value in output.values() if hasattr(output, "values") else ():
        is_number = getattr(value, "is_floating_point", bool)() and value.numel() and value.ndim
        if is_number and rows_not_finite(value.reshape(1, -1)):
            raise RuntimeError(NOT_FINITE)
