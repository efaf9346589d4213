"""Concepts that a stranger must find at the first guess from the file tree alone.

`BEFORE` is where each lay until release 0.2, for whoever comes back.
"""

from pathlib import Path

PLACES: dict[str, tuple[str, ...]] = {
    "circuit breaker of the database": ("app/db/circuit_breaker.py",),
    "Celery consumer": ("app/broker/consumer.py",),
    "run timeouts": ("app/engine/deadlines.py",),
    "batch cost model": ("app/engine/cost_model.py",),
    "cancel on disconnect": ("app/services/predictions/disconnects.py",),
    "the guard against private addresses": ("app/outbound/guard.py",),
    "model preloading": ("app/worker/model_preload.py",),
    "detection that Redis lost its data": ("app/broker/redis_marker.py",),
    "the metrics of each process": ("app/api/metrics.py", "app/worker/metrics.py", "app/observe/metrics.py"),
    "continuous batching": ("app/runtimes/text/continuous_batching.py",),
    "queue position": ("app/services/predictions/queue_position.py",),
    "moving work off a dead worker's queue": ("app/services/predictions/queue_rebalance.py",),
}

BEFORE: dict[str, tuple[str, ...]] = {
    "circuit breaker of the database": ("app/db/patience.py",),
    "Celery consumer": ("app/worker/doorstep.py",),
    "run timeouts": ("app/engine/watch.py",),
    "batch cost model": ("app/engine/curve.py",),
    "cancel on disconnect": ("app/services/abandonment.py",),
    "the guard against private addresses": ("app/webhooks/guard.py",),
    "model preloading": ("app/worker/stock.py",),
    "detection that Redis lost its data": ("app/queue/doorbell.py",),
    "the metrics of each process": ("app/api/counting.py", "app/worker/counts.py", "app/services/gauges.py"),
    "continuous batching": ("app/runtimes/step_loop.py",),
    "queue position": ("app/services/waiting_line.py",),
    "moving work off a dead worker's queue": ("app/services/stranded.py",),
}


def missing(root: Path) -> list[str]:
    """A sentence for each file that is not where its concept says."""
    return [
        f"{concept}: there is no {path}"
        for concept, paths in PLACES.items()
        for path in paths
        if not (root / path).is_file()
    ]
