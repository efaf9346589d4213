"""The names that a predictor imports from `cog`, for machines without that package: what they mean to a
predictor, not what cog's own server does with them."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

Piece_co = TypeVar("Piece_co", covariant=True)


class BasePredictor:
    """A predictor of cog's; `setup` is called once."""

    def setup(self) -> None:
        """Nothing to be loaded."""


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
    }
    module = ModuleType("cog", __doc__)
    vars(module).update(names)
    sys.modules["cog"] = module
