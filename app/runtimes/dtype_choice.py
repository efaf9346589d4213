"""`dtype: auto`: half precision where the device is faster with it and the model's answers agree, else 32
bits.

Measured on one core with AMX, MiniLM, sorted texts: 141 texts/s in 32 bits, 437 in bfloat16, least cosine
0.9999. What was measured is printed into the worker's log, shown in `Runtime.facts`, and kept on disk, so
that the next load of the version here measures nothing. It knows no kind of model: those give a
`Comparison`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes import choices

Load = Callable[[str], Any]  # a dtype's name -> the network
REPEATS = 3
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How answers in two precisions are compared: `answer(net)` runs probe inputs and gives a tensor;
    `agreement(a, b)` is 1 for the same and must reach `least`. Not `on_processors`: there a model runs as its
    weights were saved, because a small difference in a long text shows in no probe."""

    answer: Callable[[Any], Any]
    agreement: Callable[[Any, Any], float]
    least: float
    on_processors: bool = True


def fast_half_precision(device: str) -> str:
    """The half precision that this device is built for; "" when it has none."""
    import torch

    if device == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bfloat16" if fast else ""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float16"


def stored_half(folder: Path) -> str:
    """The half precision that the weights were saved in; "" when they were saved in 32 bits, so that half
    would lose digits."""
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    name = str(config.get("dtype") or config.get("torch_dtype") or "")
    return name if name in HALVES else ""


def choose(load: Load, folder: Path, model: ModelSpec, comparison: Comparison) -> tuple[Any, dict[str, Any]]:
    """The network to use, and what was measured, or kept of an earlier load. `load(dtype)` gives it on its
    device."""
    half = fast_half_precision(model.device)
    if not half:
        return load("float32"), {"dtype": "float32", "dtype_reason": "this device has no fast half precision"}
    if stored_half(folder) == half:
        return load(half), {"dtype": half, "dtype_reason": "its weights were saved so"}
    if model.device == "cpu" and not comparison.on_processors:
        return load("float32"), {"dtype": "float32", "dtype_reason": "its weights were saved so"}
    file = choices.file_for(model, "dtype", half)
    if facts := choices.read(file):
        return load(facts["dtype"]), facts
    net, facts = measure(load, half, comparison)
    choices.keep(file, facts)
    return net, facts


def measure(load: Load, half: str, comparison: Comparison) -> tuple[Any, dict[str, Any]]:
    """Both are loaded and run; the network to use, and what was measured."""
    net, other = load("float32"), load(half)
    ours, seconds = _timed(net, comparison)
    theirs, half_seconds = _timed(other, comparison)
    agreement = comparison.agreement(ours, theirs)
    agrees, faster = agreement >= comparison.least, half_seconds < seconds
    use_half = agrees and faster
    facts = {
        "dtype": half if use_half else "float32",
        "dtype_reason": _reason(agrees=agrees, faster=faster),
        "dtype_tried": half,
        "dtype_agreement": round(agreement, 6),
        "dtype_speedup": round(seconds / half_seconds, 2),
    }
    print(f"dtype auto: {facts}")
    return (other if use_half else net), facts


def _reason(*, agrees: bool, faster: bool) -> str:
    if not agrees:
        return "does not agree"
    return "faster and agrees" if faster else "not faster"


def _timed(net: Any, comparison: Comparison) -> tuple[Any, float]:
    """The answer in 32 bits and the least seconds; the first run pays for lazy initialisation and is not
    counted."""
    import torch

    best = float("inf")
    with torch.inference_mode():
        answer = comparison.answer(net).float().cpu()
        for _ in range(REPEATS):
            began = time.perf_counter()
            comparison.answer(net).float().cpu()
            best = min(best, time.perf_counter() - began)
    return answer, best
