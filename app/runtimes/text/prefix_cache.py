"""Keeps what a model has read of prompts, so that one that begins alike (a system prompt, an earlier turn) is
read from behind the common beginning on. Knows token ids and states; nothing of requests.

Bounded in bytes and in number; the longest unused goes first. What is kept is asked by comparing
ids, so an answer never depends on it by more than the rounding of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

# A shorter beginning is read sooner than it is found and copied; and a prompt is kept for so many new tokens.
LEAST_TOKENS = 64
# Comparing a prompt with each takes some 15 us.
MOST_KEPT = 64
BYTES_ON_CPU = 128 * 2**20
BYTES_ELSEWHERE = 1024 * 2**20
# How a token is turned depends on the length of all that is read: nothing kept of a shorter prompt fits.
BY_LENGTH = ("dynamic", "longrope")

States = list[tuple[Any, Any]]  # keys and values by layer, (heads, tokens, size)


@dataclass(slots=True)
class _Kept:
    ids: Any  # (tokens,) on the processor
    states: States
    bytes: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """The first `length` tokens of `states`."""

    length: int
    states: States

    def fill(self, cache: Any, rows: int) -> None:
        """Puts it into an empty cache of transformers', as so many equal rows."""
        for number, layer in enumerate(self.states):
            keys, values = (each[None, :, : self.length].expand(rows, -1, -1, -1) for each in layer)
            cache.update(keys, values, number)


class PrefixCache:
    """Used by one thread. `most` bytes; 0: nothing is kept."""

    def __init__(self, most: int, least: int = LEAST_TOKENS) -> None:
        self._most, self._least = most, least
        self._kept: list[_Kept] = []  # the last used at the end

    def find(self, prompt: Sequence[int]) -> Beginning | None:
        """The longest kept beginning of a prompt, which leaves at least its last token to be read."""
        if not self._kept or len(prompt) <= self._least:
            return None
        ids = torch.tensor(prompt)
        best, length = self._longest(ids)
        length = min(length, len(prompt) - 1)
        if length < self._least:
            return None
        self._kept.append(self._kept.pop(best))
        return Beginning(length, self._kept[-1].states)

    def _longest(self, ids: Any) -> tuple[int, int]:
        """(which of those that are kept, how many ids it has in common)."""
        common = [_common(ids, each.ids) for each in self._kept]
        best = max(range(len(common)), key=common.__getitem__)
        return best, common[best]

    def keep(self, prompt: Sequence[int], layers: Sequence[Any], row: int) -> None:
        """What was read of a prompt, if it is much more than what is kept already: a row of the layers of
        transformers' cache."""
        size = len(prompt)
        if not self._most or size < self._least:
            return
        ids = torch.tensor(prompt)
        if self._kept and size - self._longest(ids)[1] < self._least:
            return
        states = [
            (layer.keys[row, :, :size].clone(), layer.values[row, :, :size].clone()) for layer in layers
        ]
        total = sum(each.numel() * each.element_size() for pair in states for each in pair)
        if total > self._most:
            return
        self._kept.append(_Kept(ids, states, total))
        while len(self._kept) > MOST_KEPT or sum(each.bytes for each in self._kept) > self._most:
            self._kept.pop(0)


def _common(ids: Any, others: Any) -> int:
    """How many ids two rows have in common at their beginning."""
    size = min(len(ids), len(others))
    differ = (ids[:size] != others[:size]).nonzero()
    return int(differ[0]) if len(differ) else size


def turns_by_length(config: Any) -> bool:
    """Whether the positions of a model (transformers' configuration of its text) depend on the length of what
    is read."""
    settings = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [settings, *settings.values()] if isinstance(settings, dict) else []
    return any(isinstance(each, dict) and each.get("rope_type") in BY_LENGTH for each in kinds)
