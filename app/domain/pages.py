"""A part of a list, and where the parts beside it begin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some results and the cursors of the pages beside them; None where there is none."""

    results: list[T]
    next: str | None = None
    previous: str | None = None

    def map(self, change: Callable[[T], R]) -> "Page[R]":
        """The same page of other things."""
        return Page([change(result) for result in self.results], self.next, self.previous)
