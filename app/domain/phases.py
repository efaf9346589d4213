"""Where a prediction's time goes: the phases, and how the row's times and the worker's seconds become a
whole. Pure.

`queue` and the total are by the database's clock, the middle ones by the worker's monotonic clock, and
`store` is what is left, so that the phases of an ended prediction add up to its total whatever the clocks of
the machines say.
"""

from collections.abc import Mapping
from typing import Any

from app.domain.predictions import Prediction

# Measured inside the engine, without gaps, from its taking the work to the model's last answer.
IN_ENGINE = ("load", "batch_wait", "tokenise", "run")
MEASURED = (*IN_ENGINE, "post")
PHASES = ("queue", *MEASURED, "store")
DIGITS = 6  # microseconds, as Postgres keeps its times


def run_metrics(engine: Mapping[str, Any], before: float, within: float) -> dict[str, Any]:
    """A worker's metrics of one attempt: the engine's, with what came before it taking the work and after its
    answer.

    `before`: seconds from the claim to the engine; `within`: from then until the worker had the end. Of an
    end that the engine knows nothing about all of `within` counts as running.
    """
    rest = round(max(0.0, within - sum(engine.get(name, 0.0) for name in IN_ENGINE)), DIGITS)
    load = round(engine.get("load", 0.0) + before, DIGITS)
    answer = {"load": load, "batch_wait": 0.0, "tokenise": 0.0, "run": 0.0, "post": 0.0}
    answer["post" if "run" in engine else "run"] = rest
    return {**answer, **engine, "load": load}


def phases(prediction: Prediction) -> dict[str, float]:
    """Seconds of each phase of an ended prediction. What no worker lived to measure counts as running; of one
    that was never claimed all is `queue`."""
    assert prediction.completed_at is not None
    total = (prediction.completed_at - prediction.created_at).total_seconds()
    seconds = {name: prediction.metrics.get(name, 0.0) for name in MEASURED}
    started = prediction.started_at
    queue = total if started is None else (started - prediction.created_at).total_seconds()
    left = round(max(0.0, total - queue - sum(seconds.values())), DIGITS)
    if "run" not in prediction.metrics:
        seconds["run"], left = left, 0.0
    return {"queue": round(queue, DIGITS), **seconds, "store": left}
