"""What the calls to one backend have shown: counts since the start, latency and errors of the last ones.
Plain state; the caller passes times in."""

from collections import deque
from dataclasses import dataclass, field

REMEMBERED = 200  # calls
NEWEST_SHARE = 0.1  # of the newest call in the mean latency
DEGRADED_RATE = 0.1  # of the last calls that failed
FEWEST_CALLS = 10  # before a share of them says anything


@dataclass(slots=True)
class CallFigures:
    """Latencies in seconds, of calls that went well."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency: float = 0.0
    _failed: int = 0  # of the remembered ones
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _outcomes: deque[bool] = field(default_factory=deque)  # whether it has failed

    def on_success(self, seconds: float, input_tokens: int, output_tokens: int) -> None:
        self.requests += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.latency += (NEWEST_SHARE if self.latency else 1.0) * (seconds - self.latency)
        self._latencies.append(seconds)
        self._remember(is_failed=False)

    def on_error(self) -> None:
        self.requests += 1
        self.errors += 1
        self._remember(is_failed=True)

    def _remember(self, *, is_failed: bool) -> None:
        if len(self._outcomes) == REMEMBERED:
            self._failed -= self._outcomes.popleft()
        self._outcomes.append(is_failed)
        self._failed += is_failed

    @property
    def error_rate(self) -> float:
        """Of the last calls."""
        return self._failed / len(self._outcomes) if self._outcomes else 0.0

    @property
    def is_degraded(self) -> bool:
        return len(self._outcomes) >= FEWEST_CALLS and self.error_rate >= DEGRADED_RATE

    def quantile(self, share: float) -> float | None:
        """Of the last calls that went well; None when there are none."""
        ordered = sorted(self._latencies)
        return round(ordered[int(share * (len(ordered) - 1))], 6) if ordered else None
