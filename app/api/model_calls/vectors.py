"""Vectors as models answer with them: checked, shortened."""

import math
from typing import Any

from app.api.model_calls.calls import Call
from app.api.model_calls.failures import RunFailed, refused


def read_vectors(
    call: Call, output: Any, dimensions: int | None, *, scaled: bool = True
) -> list[list[float]]:
    """The model's vectors, shortened, and then of length 1 again if they are `scaled`. Raises InvalidRequest
    for a model that does not answer with such, RunFailed for numbers that are none."""
    if not isinstance(output, list) or not output or not isinstance(output[0], list):
        raise refused("model", f"{call.version.model} does not answer with vectors")
    if any(None in vector for vector in output):  # what JSON has for numbers that are none
        raise RunFailed(500, "The model's answer holds numbers that are not finite.", "model_failed")
    if dimensions and dimensions > len(output[0]):
        raise refused("dimensions", f"the model's vectors have {len(output[0])}")
    return [shortened(vector, dimensions, scaled=scaled) for vector in output]


def shortened(vector: list[float], dimensions: int | None, *, scaled: bool = True) -> list[float]:
    """The first numbers, scaled to length 1 (as models trained for it expect: Kusupati et al. 2022)."""
    if not dimensions or dimensions >= len(vector):
        return vector
    kept = vector[:dimensions]
    length = math.hypot(*kept) or 1.0
    return [number / length for number in kept] if scaled else kept
