"""A key-value cache whose rows come and go: left-padded, merged when requests join, cut when they leave.

Works on transformers' DynamicCache with plain layers. Models with other caches (sliding windows, state spaces) are run one
request at a time instead (`plain` tells).
"""

from collections.abc import Sequence
from typing import Any


def plain(cache: Any) -> bool:
    """Whether every layer is an ordinary growing one, so that rows may be moved about."""
    layers = getattr(cache, "layers", None) or []
    return bool(layers) and all(type(layer).__name__ == "DynamicLayer" for layer in layers)


def merge(left: tuple[Any, Any], right: tuple[Any, Any]) -> tuple[Any, Any]:
    """Two (cache, mask) pairs as one: the shorter is padded on the left, rows are appended. Masks are (rows, tokens)."""
    import torch
    from transformers import DynamicCache

    longest = max(left[1].shape[1], right[1].shape[1])
    merged = DynamicCache()
    for number, (a, b) in enumerate(zip(left[0].layers, right[0].layers, strict=True)):
        keys = torch.cat([_padded(a.keys, longest), _padded(b.keys, longest)])
        values = torch.cat([_padded(a.values, longest), _padded(b.values, longest)])
        merged.update(keys, values, number)
    masks = [torch.nn.functional.pad(mask, (longest - mask.shape[1], 0)) for mask in (left[1], right[1])]
    return merged, torch.cat(masks)


def _padded(states: Any, length: int) -> Any:
    """(rows, heads, tokens, size) with zeros in front up to `length` tokens."""
    import torch

    return torch.nn.functional.pad(states, (0, 0, length - states.shape[2], 0))


def keep(cache: Any, mask: Any, rows: Sequence[int]) -> tuple[Any, Any]:
    """Only these rows, with the padding that all of them share cut off."""
    import torch
    from transformers import DynamicCache

    index = torch.tensor(list(rows), device=mask.device)
    mask = mask[index]
    start = int(mask.any(0).int().argmax())
    kept = DynamicCache()
    for number, layer in enumerate(cache.layers):
        kept.update(layer.keys[index, :, start:], layer.values[index, :, start:], number)
    return kept, mask[:, start:]
