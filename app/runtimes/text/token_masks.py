"""Which tokens the grammars of a batch's rows allow next: computed on a thread beside the forward pass,
applied to its logits. Knows llguidance's matchers; nothing of what they are for."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch


class Row(Protocol):
    """What is needed of a running request: `matcher` is None where anything is allowed."""

    @property
    def matcher(self) -> Any: ...


class TokenMasks:
    """Of one batch. `begin` before a forward pass, `apply` to its logits."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[Any] | None = None
        self._rows: list[int] = []

    @property
    def is_used(self) -> bool:
        """Whether any of the rows has a grammar."""
        return bool(self._rows)

    def begin(self, rows: Sequence[Row]) -> None:
        """Starts computing for the rows that have a grammar. `apply` takes the same rows."""
        self._rows = [number for number, row in enumerate(rows) if row.matcher is not None]
        matchers = [rows[number].matcher for number in self._rows]
        if not matchers:
            self._pending = None
            return
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="grammars")
        self._pending = self._thread.submit(allowed_tokens, matchers)

    def apply(self, logits: Any) -> Any:
        """The logits (rows, vocabulary), minus infinity where a row's grammar does not allow the token."""
        if self._pending is None:
            return logits
        allowed = torch.from_numpy(self._pending.result()).to(logits.device)
        self._pending = None
        width = min(allowed.shape[1], logits.shape[1])
        logits = logits.clone()  # what a model made in inference mode can be written in that mode only
        for number, row in enumerate(self._rows):
            logits[row, width:] = float("-inf")
            logits[row, :width].masked_fill_(~allowed[number, :width], float("-inf"))
        return logits

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)


def allowed_tokens(matchers: Sequence[Any]) -> Any:
    """(rows, vocabulary) of booleans. llguidance lets go of the interpreter meanwhile."""
    rows = [np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8) for matcher in matchers]
    return np.unpackbits(np.stack(rows), axis=1, bitorder="little").astype(bool)
