"""Choosing the next token of each row from its logits, by each row's own parameters and generator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Sampling:
    """`temperature` 0 is greedy. `generator` makes a row's choices the same whatever else is in the batch."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    generator: Any = field(default=None)


def choose(logits: Any, rows: Sequence[Sampling], seen: Sequence[Sequence[int]]) -> list[int]:
    """The next token of each row. `logits` is (rows, vocabulary); `seen` holds each row's tokens so far."""
    chosen: list[int] = logits.argmax(-1).tolist()
    for n, row in enumerate(rows):
        if row.temperature > 0 or row.repetition_penalty != 1.0:
            chosen[n] = _one(logits[n], row, seen[n])
    return chosen


def _one(logits: Any, row: Sampling, seen: Sequence[int]) -> int:
    import torch

    scores = logits.float().clone()
    if row.repetition_penalty != 1.0:
        ids = torch.tensor(sorted(set(seen)), device=scores.device)
        old = scores[ids]
        scores[ids] = torch.where(old > 0, old / row.repetition_penalty, old * row.repetition_penalty)
    if row.temperature <= 0:
        return int(scores.argmax())
    scores = scores / row.temperature
    if row.top_k:
        least = scores.topk(min(row.top_k, scores.numel())).values[-1]
        scores = scores.masked_fill(scores < least, float("-inf"))
    probabilities = scores.softmax(-1)
    if row.top_p < 1.0:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= row.top_p  # the first token that passes top_p is kept
        probabilities[order[beyond]] = 0.0
    return int(torch.multinomial(probabilities, 1, generator=row.generator))
