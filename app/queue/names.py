"""Names of queues, tasks and Redis keys that several processes must agree on."""

KEY_PREFIX = "lovage:"  # of every Redis key that is ours, Celery's included
TASK_PREDICT = "lovage.predict"
TASK_DELIVER = "lovage.deliver"
TASK_SWEEP = "lovage.sweep"

WEBHOOKS = "webhooks"
SWEEPS = "sweeps"
# Consumed by every accelerator worker: where a prediction waits when no worker is known to be alive.
ANY = "any"
# Consumed by nobody: where a prediction waits that no live worker has the memory for. The sweep looks for a worker.
UNPLACED = "unplaced"


def pinned(device: str, host: str) -> str:
    """The queue that one worker alone consumes, e.g. `cuda:0@host7`."""
    return f"{device}@{host}"


def device_class(device: str) -> str:
    """`cuda:0` -> `cuda`; also of a pinned queue's name."""
    return device.split("@", 1)[0].split(":", 1)[0]
