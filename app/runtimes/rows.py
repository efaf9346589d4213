"""Rows of token ids of different length: grouped so that little is padded, padded into tensors. Knows no model."""

from collections.abc import Iterator, Sequence
from typing import Any

# Cells (rows x longest) of one forward pass. On a CPU more gains nothing: MiniLM on one core gave 141 texts/s in batches
# of 16 and 123 in batches of 32; an accelerator is idle with less.
CELLS_ON_CPU = 2_048
CELLS_ELSEWHERE = 65_536


def cells_of(device: str) -> int:
    """How many cells to put into one forward pass on this device."""
    return CELLS_ON_CPU if device == "cpu" else CELLS_ELSEWHERE


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
