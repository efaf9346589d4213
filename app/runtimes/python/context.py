"""What a predictor may ask of the platform while it predicts: a parameter annotated with `Context`, imported
`from lovage`. Knows the running batch's feed, no engine."""

import math

from app.domain.work import Progress
from app.runtimes.base import Feed, Job

LONGEST_TEXT = 200
MOST_METRICS = 50


class Context:
    """Of one prediction. `metrics` are put beside the platform's own when it ends."""

    def __init__(self, job: Job, feed: Feed) -> None:
        self._job, self._feed = job, feed
        self.metrics: dict[str, float | str] = {}

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

    def metric(self, name: str, value: float | str) -> None:
        """A number or a short text that is shown with the prediction. Raises ValueError for others."""
        is_new = name not in self.metrics
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"metric {name!r}: {value} is not finite")
        if not isinstance(value, int | float | str) or len(str(value)) > LONGEST_TEXT:
            raise ValueError(
                f"metric {name!r}: must be a number, or a text of at most {LONGEST_TEXT} letters"
            )
        if is_new and len(self.metrics) >= MOST_METRICS:
            raise ValueError(f"metric {name!r}: a prediction has at most {MOST_METRICS}")
        self.metrics[name[:LONGEST_TEXT]] = value
