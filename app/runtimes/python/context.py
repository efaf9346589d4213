"""What a predictor may ask of the platform while it predicts: a parameter annotated with `Context`, imported
`from lovage`. Knows the running batch's feed, no engine."""

import json
import math
from typing import Any

from app.domain.work import Progress
from app.runtimes.base import Feed, Job

LONGEST_TEXT = 200
LONGEST_LIST = 2_000  # letters as JSON
MOST_METRICS = 50


class Context:
    """Of one prediction. `metrics` are put beside the platform's own when it ends."""

    def __init__(self, job: Job, feed: Feed) -> None:
        self._job, self._feed = job, feed
        self.metrics: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """The prediction's."""
        return self._job.id

    @property
    def is_canceled(self) -> bool:
        """Whether nobody waits for the answer any more; `predict` may then return or raise what it likes."""
        return self._feed.canceled(self._job.id)

    def progress(self, done: int, total: int) -> None:
        """Says at once how far it is. Raises ValueError for what is no part of a whole."""
        if not 0 <= done <= total:
            raise ValueError(f"progress: {done} is not between 0 and {total}")
        self._feed.send(self._job.id, Progress(int(done), int(total)))

    def metric(self, name: str, value: float | str | list[Any] | dict[str, Any]) -> None:
        """A number, a short text, or a short list or object of them that is shown with the prediction. Raises
        ValueError for others."""
        if fault := _fault_of(value):
            raise ValueError(f"metric {name!r}: {fault}")
        if name not in self.metrics and len(self.metrics) >= MOST_METRICS:
            raise ValueError(f"metric {name!r}: a prediction has at most {MOST_METRICS}")
        self.metrics[name[:LONGEST_TEXT]] = value


def _fault_of(value: Any) -> str:
    """Why it is no metric, "" when it is one."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not finite"
    if isinstance(value, list | dict):
        try:
            is_short = len(json.dumps(value, allow_nan=False)) <= LONGEST_LIST
        except (TypeError, ValueError):
            return "must hold numbers and texts only, all finite"
        return "" if is_short else f"must be at most {LONGEST_LIST} letters as JSON"
    if not isinstance(value, int | float | str) or len(str(value)) > LONGEST_TEXT:
        return f"must be a number, or a text of at most {LONGEST_TEXT} letters"
    return ""
