"""The names that a predictor imports from `cog`, for machines without that package: what they mean to a
predictor, not what cog's own server does with them."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from app.runtimes.python.cog_scope import Scope, current_scope

Piece_co = TypeVar("Piece_co", covariant=True)


class BasePredictor:
    """A predictor of cog's; `setup` is called once."""

    def setup(self) -> None:
        """Nothing to be loaded."""

    @property
    def scope(self) -> Scope:
        """The running prediction's."""
        return current_scope()

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """As `Scope.record_metric`."""
        current_scope().record_metric(key, value, mode)


class ConcatenateIterator(Iterator[Piece_co]):
    """Pieces of a text."""


class AsyncConcatenateIterator(AsyncIterator[Piece_co]):
    """The same, of an async predictor."""


class CancelationException(BaseException):
    """What cog raises in a predictor that is canceled. It is not raised here: a prediction that does not end
    by itself is ended with its process."""


def input_field(default: Any = ..., **words: Any) -> Any:
    """`Input(…)`: the default, and what the schema reads from the source."""
    return SimpleNamespace(default=default, **words)


def decorator(function: Callable[..., Any] | None = None, **_: Any) -> Any:
    """`@streaming` and `@concurrent(max=…)`: they tell cog's server how to call, and change nothing of what
    is called."""
    return function if function is not None else lambda inner: inner


def emit_metric(name: str, value: float) -> None:
    """What `current_scope().record_metric` was called before."""
    current_scope().record_metric(name, value)


def offer_names() -> None:
    """Makes `from cog import …` work where cog is not installed."""
    if "cog" in sys.modules or importlib.util.find_spec("cog") is not None:
        return
    from pydantic import BaseModel, SecretStr

    names = {
        "BasePredictor": BasePredictor,
        "BaseModel": BaseModel,
        "AsyncConcatenateIterator": AsyncConcatenateIterator,
        "CancelationException": CancelationException,
        "ConcatenateIterator": ConcatenateIterator,
        "ExperimentalFeatureWarning": FutureWarning,
        "File": Path,
        "Input": input_field,
        "Path": Path,
        "Secret": SecretStr,
        "concurrent": decorator,
        "current_scope": current_scope,
        "emit_metric": emit_metric,
        "streaming": decorator,
    }
    module = ModuleType("cog", __doc__)
    vars(module).update(names)
    sys.modules["cog"] = module
