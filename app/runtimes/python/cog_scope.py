"""cog's `current_scope()`: where a predictor of cog's records metrics of the prediction that runs. Outside of
one it takes everything and keeps nothing, as cog's does."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.runtimes.python.context import Context

MODES = ("replace", "incr", "append")


class _Running:
    """What runs now. Of the process, not of a thread or a task: predictions run one at a time, and what one
    starts beside itself is its own."""

    context: Context | None = None


class Metrics:
    """By their names; numbers, short texts and flags, and lists of them. A dotted name is one name."""

    def __init__(self, context: Context | None) -> None:
        self._context = context

    def record(self, key: str, value: Any, mode: str = "replace") -> None:
        """`incr` adds to what there is, `append` makes a list of it and this; None removes it. Raises
        ValueError for what is no metric, or another mode."""
        if mode not in MODES:
            raise ValueError(f"metric {key!r}: mode must be one of {', '.join(MODES)}, not {mode!r}")
        if self._context is None:
            return
        now = self._context.metrics.get(key)
        if value is None:
            self._context.metrics.pop(key, None)
        elif mode == "incr":
            self._context.metric(key, _sum(key, now, value))
        elif mode == "append":
            before = now if isinstance(now, list) else [] if now is None else [now]
            self._context.metric(key, [*before, value])
        else:
            self._context.metric(key, value)

    def __setitem__(self, key: str, value: Any) -> None:
        self.record(key, value)

    def __getitem__(self, key: str) -> Any:
        return (self._context.metrics if self._context else {})[key]

    def __delitem__(self, key: str) -> None:
        self.record(key, None)

    def __contains__(self, key: str) -> bool:
        return self._context is not None and key in self._context.metrics

    def get(self, key: str, default: Any = None) -> Any:
        """Or the default."""
        return (self._context.metrics if self._context else {}).get(key, default)


class Scope:
    """Of the running prediction. `context` is what cog's own server passes on of a request, which is nothing
    here."""

    def __init__(self, context: Context | None = None) -> None:
        self.metrics = Metrics(context)
        self.context: dict[str, str] = {}

    def record_metric(self, key: str, value: Any, mode: str = "replace") -> None:
        """As `Metrics.record`."""
        self.metrics.record(key, value, mode)


def current_scope() -> Scope:
    """The running prediction's; of none while none runs."""
    return Scope(_Running.context)


@contextmanager
def running(context: Context) -> Iterator[None]:
    """While it is entered, `current_scope()` is this prediction's."""
    _Running.context = context
    try:
        yield
    finally:
        _Running.context = None


def _sum(key: str, now: Any, value: Any) -> Any:
    try:
        return value if now is None else now + value
    except TypeError:
        raise ValueError(f"metric {key!r}: {value!r} cannot be added to {now!r}") from None
