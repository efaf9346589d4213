"""Names of the queues that predictions wait in and workers consume. Knows no broker."""

# Consumed by couriers: webhooks to deliver.
WEBHOOKS = "webhooks"
# Consumed by workers and couriers: the clock's sweeps.
SWEEPS = "sweeps"
# Consumed by every accelerator worker: where a prediction waits when no worker is known to be alive.
ANY = "any"
# Consumed by nobody: where a prediction waits that no live worker has the memory for. The sweep looks for a
# worker.
UNPLACED = "unplaced"


def pinned(device: str, host: str) -> str:
    """The queue that one worker alone consumes, e.g. `cuda:0@host7`."""
    return f"{device}@{host}"


def device_class(device: str) -> str:
    """`cuda:0` -> `cuda`; also of a pinned queue's name."""
    return device.split("@", 1)[0].split(":", 1)[0]
