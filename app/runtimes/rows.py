"""Rows of token ids of different length: grouped so that little is padded, padded into tensors. Knows no model."""

from collections.abc import Iterator, Sequence
from typing import Any


def cut_by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in groups of similar length whose rows times longest stays within `budget` (a row over it goes alone)."""
    group: list[int] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if group and (len(group) + 1) * lengths[n] > budget:
            yield group
            group = []
        group.append(n)
    if group:
        yield group


def cut_evenly(lengths: Sequence[int], budget: int, lanes: int) -> list[list[int]]:
    """The same, for `lanes` that work side by side: as few groups as fill all lanes equally often, the largest as small as can
    be."""
    fewest = list(cut_by_length(lengths, budget))
    wanted = -(-len(fewest) // lanes) * lanes
    if lanes == 1:
        return fewest
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        if len(list(cut_by_length(lengths, middle))) <= wanted:
            high = middle
        else:
            low = middle + 1
    return list(cut_by_length(lengths, high))


def cells(lengths: Sequence[int], group: Sequence[int]) -> int:
    """Rows times longest of a group of indices."""
    return len(group) * max(lengths[n] for n in group)


# For half precision on a CPU the library compiles its kernels anew for every number of cells that it meets (12 ms for each
# with MiniLM). A length in steps of 8 leaves few of them and costs less than it saves: 3.8 ms of CPU for a text, 4.3 with exact
# lengths, 4.8 with steps of 16 and rows in steps of 8.
COARSE_LENGTH = 8


def padded(rows: Sequence[Sequence[int]], fill: int, device: str, *, coarse: bool = False) -> tuple[Any, Any]:
    """(ids, mask), both (rows, longest) of int64; padding on the right. `coarse` rounds the longest up to COARSE_LENGTH."""
    import torch

    longest = max(map(len, rows))
    if coarse:
        longest = -(-longest // COARSE_LENGTH) * COARSE_LENGTH
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, (torch.arange(longest, device=device) < lengths[:, None]).long()
