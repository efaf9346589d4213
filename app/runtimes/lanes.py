"""Forward passes side by side: on a processor, two of one thread each do more than one of two, and pad less.

A pass of small matrices is a hundred short pieces of work with a barrier after each. Measured on two cores with MiniLM and texts
of 5 to 250 tokens, 100 waiting, batches of 32: 340 texts/s in bfloat16 with two threads, 455 with two lanes; in 32 bits 187 and
222. Knows no model: it is given lengths and a function.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes.rows import cells, cut_evenly

LANES = 2  # more of them would wait for each other's Python
# Fewer cells than this are done sooner by all threads together.
LEAST_CELLS = 256
# Cells (rows x longest) of one forward pass. On a CPU more gains nothing: MiniLM on one core gave 141 texts/s in batches
# of 16 and 123 in batches of 32; an accelerator is idle with less.
CELLS_ON_CPU = 2_048
CELLS_ELSEWHERE = 65_536


class Lanes:
    """Used by one thread. `padding` is the share of cells that held nothing in what `each` ran last."""

    def __init__(self, model: ModelSpec) -> None:
        on_cpu = model.device == "cpu"
        one_threads = model.config.get("torch_compile") or model.trust_remote_code  # transformers' own layers may be shared
        self._count = min(LANES, model.threads) if on_cpu and not one_threads else 1
        self._threads = model.threads
        self._cells = CELLS_ON_CPU if on_cpu else CELLS_ELSEWHERE
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="lane") if self._count > 1 else None
        self.padding = 0.0

    def each(self, lengths: Sequence[int], run: Callable[[Sequence[int]], Sequence[Any]]) -> list[Any]:
        """One answer for each row, in the order given. `run` gets the numbers of rows of similar length, and gives their answers;
        it may be called by several threads at once."""
        parts = cut_evenly(lengths, self._cells, self._count if sum(lengths) >= LEAST_CELLS else 1)
        self.padding = 1.0 - sum(lengths) / sum(cells(lengths, part) for part in parts)
        answers: list[Any] = [None] * len(lengths)
        for part, found in zip(parts, self._run(parts, run), strict=True):
            for number, answer in zip(part, found, strict=True):
                answers[number] = answer
        return answers

    def _run(self, parts: list[list[int]], run: Callable[[Sequence[int]], Sequence[Any]]) -> list[Sequence[Any]]:
        if self._pool is None:
            return [run(part) for part in parts]
        if len(parts) == 1:
            return [_with_threads(self._threads, run, parts[0])]
        each = self._threads // self._count
        return list(self._pool.map(lambda part: _with_threads(each, run, part), parts))


def _with_threads(threads: int, run: Callable[[Sequence[int]], Sequence[Any]], part: Sequence[int]) -> Sequence[Any]:
    """torch counts its threads for each of ours, its libraries for all of them together: so it is said before every pass."""
    import torch

    torch.set_num_threads(threads)
    return run(part)
