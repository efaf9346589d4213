"""Which engine runs an encoder's network on a processor: each candidate is loaded, its answers are compared
with torch's, batches of the version's shapes are timed, and the fastest that agrees is kept on disk, so that
later loads of the version here try nothing.

Pure but for the clock inside `Yardstick.seconds` and the file: candidates come from `candidates.py`, inputs
and timing from the runtimes.
"""

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.runtimes import choices

TORCH = "torch"
ONNX_RUNTIME = "onnxruntime"
OPENVINO = "openvino"
# Less than this is noise, and torch is what everything else was tried with.
LEAST_GAIN = 1.03
ERROR_LENGTH = 200
ROUNDS = 2  # of two that are timed in turn

Loaded = tuple[Any, dict[str, Any]]  # the network, and facts about it


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine in a precision. `load`: the network and facts; raises what the engine raises. `skipped`: why
    it cannot be tried; "": it can. `is_measure`: the others are held against it, but it is not to be used."""

    engine: str
    dtype: str
    load: Callable[[], Loaded] | None = None
    skipped: str = ""
    is_measure: bool = False

    @property
    def can_be_chosen(self) -> bool:
        return self.load is not None and not self.is_measure


@dataclass(frozen=True, slots=True)
class Yardstick:
    """`answer(net)` runs probe inputs and gives a tensor; `agreement(a, b)` is 1 for the same and must reach
    `least`. `seconds(net, facts)`: how long batches took, in the same order for all."""

    answer: Callable[[Any], Any]
    agreement: Callable[[Any, Any], float]
    least: float
    seconds: Callable[[Any, dict[str, Any]], Sequence[float]]


@dataclass(slots=True)
class _Best:
    """Of what was tried by now; `loaded` is None while nothing may be used."""

    candidate: Candidate
    loaded: Loaded | None
    speedup: float = 1.0


def choose(candidates: Sequence[Candidate], yardstick: Yardstick, file: Path | None) -> Loaded:
    """The network to use, and facts: the engine, and what was tried, now or at an earlier load. The first
    candidate is the one that the others are compared with; its errors are the caller's. Raises ValueError
    when no candidate that may be used agrees with it."""
    possible = [candidate for candidate in candidates if candidate.can_be_chosen]
    if possible == [candidates[0]]:
        net, facts = _load(possible[0])
        skipped = [_skipped(each, each.skipped) for each in candidates if each.skipped]
        reason = {"dtype_reason": "nothing else can be tried here"}
        tried = {"engines": skipped} if skipped else {}
        return net, {**_names(possible[0]), **facts, **reason, **tried}
    if kept := choices.read(file):
        if loaded := _load_kept(possible, kept):
            return loaded
        print(f"engine auto: {kept.get('engine')} cannot be opened any more; the engines are tried again")
    loaded = try_all(candidates, yardstick)
    choices.keep(file, loaded[1])
    return loaded


def _load(candidate: Candidate) -> Loaded:
    if candidate.load is None:
        raise ValueError(candidate.skipped)
    return candidate.load()


def _load_kept(possible: Sequence[Candidate], kept: dict[str, Any]) -> Loaded | None:
    chosen = next((each for each in possible if _names(each).items() <= kept.items()), None)
    if chosen is None:
        return None
    if chosen.engine == TORCH:
        return _load(chosen)[0], kept
    try:
        return _load(chosen)[0], kept
    except Exception as error:  # noqa: BLE001 - engines have no common class; torch is there instead
        print(f"engine auto: {_sentence(error)}")
        return None


def try_all(candidates: Sequence[Candidate], yardstick: Yardstick) -> Loaded:
    """Loads one candidate after the other; of those before, only the best stays in memory."""
    reference, *others = candidates
    loaded = _load(reference)
    expected, times = _run(loaded, yardstick)
    best = _Best(reference, loaded if reference.can_be_chosen else None)
    del loaded
    tried: list[dict[str, Any]] = [{**_names(reference), "agreement": 1.0, "speedup": 1.0}]
    for candidate in others:
        try:
            result = _try(candidate, yardstick, expected, times, best)
        except Exception as error:  # noqa: BLE001 - what cannot be run is not chosen; engines raise anything
            tried.append(_skipped(candidate, candidate.skipped or _sentence(error)))
            continue
        tried.append(result.facts)
        least = best.speedup * LEAST_GAIN if best.loaded else 0.0
        if result.agreement >= yardstick.least and result.speedup > least:
            best = _Best(candidate, result.loaded, result.speedup)
        del result
    gc.collect()
    if best.loaded is None:
        reasons = [each.get("skipped") or f"its agreement is {each['agreement']}" for each in tried[1:]]
        raise ValueError(f"engine: {candidates[-1].engine} cannot be used: {'; '.join(reasons)}")
    return best.loaded[0], _facts(best, tried)


@dataclass(slots=True)
class _Result:
    loaded: Loaded
    agreement: float
    speedup: float
    facts: dict[str, Any]


def _try(
    candidate: Candidate, yardstick: Yardstick, expected: Any, times: Sequence[float], best: _Best
) -> _Result:
    loaded = _load(candidate)
    actual, seconds = _run(loaded, yardstick)
    agreement, speedup = yardstick.agreement(expected, actual), mean_speedup(times, seconds)
    if best.loaded is not None and agreement >= yardstick.least:
        speedup = best.speedup * _compare_in_turn(best.loaded, loaded, yardstick)
    rounded = {"agreement": round(agreement, 6), "speedup": round(speedup, 2)}
    return _Result(loaded, agreement, speedup, {**_names(candidate), **rounded})


def _run(loaded: Loaded, yardstick: Yardstick) -> tuple[Any, Sequence[float]]:
    import torch

    with torch.inference_mode():
        answer = yardstick.answer(loaded[0]).float().cpu().clone()
        return answer, yardstick.seconds(*loaded)


def _compare_in_turn(best: Loaded, loaded: Loaded, yardstick: Yardstick) -> float:
    """How many times faster the second is. Timed in turn, because what else runs on the machine would slow
    down one of them alone: tried one after the other under load, now this engine was taken, now that."""
    import torch

    rounds: list[tuple[Sequence[float], Sequence[float]]] = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            rounds.append((yardstick.seconds(*best), yardstick.seconds(*loaded)))
    ours, theirs = ([min(shape) for shape in zip(*each, strict=True)] for each in zip(*rounds, strict=True))
    return mean_speedup(ours, theirs)


def mean_speedup(times: Sequence[float], others: Sequence[float]) -> float:
    """The geometric mean of how many times faster the others are."""
    logarithms = [math.log(ours / theirs) for ours, theirs in zip(times, others, strict=True)]
    return math.exp(sum(logarithms) / len(logarithms))


def _facts(best: _Best, tried: list[dict[str, Any]]) -> dict[str, Any]:
    names = _names(best.candidate)
    own = next(each for each in tried if names.items() <= each.items())
    assert best.loaded is not None
    facts = {
        **names,
        **best.loaded[1],
        "dtype_reason": "the fastest that agrees" if best.speedup > 1 else "nothing is faster and agrees",
        "dtype_agreement": own["agreement"],
        "dtype_speedup": own["speedup"],
        "engines": tried,
    }
    print(f"engine auto: {facts}")
    return facts


def _names(candidate: Candidate) -> dict[str, Any]:
    return {"engine": candidate.engine, "dtype": candidate.dtype}


def _skipped(candidate: Candidate, reason: str) -> dict[str, Any]:
    return {**_names(candidate), "skipped": reason}


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:ERROR_LENGTH]
