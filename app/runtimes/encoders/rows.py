"""Rows of token ids of different length: grouped so that little is padded, padded into tensors. Knows no
model."""

from collections.abc import Iterator, Sequence
from typing import Any


def cut_by_length(lengths: Sequence[int], budget: int, *, unpadded: bool = False) -> Iterator[list[int]]:
    """Indices in groups of similar length whose cells stay within `budget` (a row over it goes alone)."""
    group: list[int] = []
    total = 0
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        total += lengths[n]
        if group and (total if unpadded else (len(group) + 1) * lengths[n]) > budget:
            yield group
            group, total = [], lengths[n]
        group.append(n)
    if group:
        yield group


def cut_evenly(
    lengths: Sequence[int], budget: int, parallel: int, *, unpadded: bool = False
) -> list[list[int]]:
    """The same, for `parallel` threads side by side: as few groups as give every thread equally many, the
    largest as small as can be."""
    fewest = list(cut_by_length(lengths, budget, unpadded=unpadded))
    if parallel == 1:
        return fewest
    most = -(-len(fewest) // parallel) * parallel
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        if len(list(cut_by_length(lengths, middle, unpadded=unpadded))) <= most:
            high = middle
        else:
            low = middle + 1
    return list(cut_by_length(lengths, high, unpadded=unpadded))


def cells(lengths: Sequence[int], group: Sequence[int], *, unpadded: bool = False) -> int:
    """Rows times longest of a group of indices; `unpadded`: their lengths, and what the step of `stepped`
    adds."""
    if unpadded:
        return stepped(sum(lengths[n] for n in group))
    return len(group) * max(lengths[n] for n in group)


# The library compiles a product anew for every number of rows that it meets, in bfloat16 13 ms for a layer of
# MiniLM; steps leave few of them.
SMALL, SMALL_STEP = 64, 4
STEP = 16


def stepped(count: int) -> int:
    """The number of cells that unpadded rows of so many are run as."""
    step = SMALL_STEP if count <= SMALL else STEP
    return -(-count // step) * step


# For half precision on a CPU the library compiles its kernels anew for every number of cells that it meets
# (12 ms for each with MiniLM). A length in steps of 8 leaves few of them and costs less than it saves: 3.8 ms
# of CPU for a text, 4.3 with exact lengths, 4.8 with steps of 16 and rows in steps of 8.
COARSE_LENGTH = 8


def padded(rows: Sequence[Sequence[int]], fill: int, device: str, *, coarse: bool = False) -> tuple[Any, Any]:
    """(ids, mask), both (rows, longest) of int64; padding on the right. `coarse` rounds the longest up to
    COARSE_LENGTH."""
    import numpy as np
    import torch

    longest = max(map(len, rows))
    if coarse:
        longest = -(-longest // COARSE_LENGTH) * COARSE_LENGTH
    ids: Any = np.full((len(rows), longest), fill, dtype=np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
