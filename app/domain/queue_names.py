"""Names of the queues that predictions wait in and workers consume, and of the devices that they are made
from. Knows no broker.

A device's name is a class (`cuda`) or a class and a number (`cuda:1`); with `@` and a host's name it is the
queue of one worker. Nothing else becomes a queue's name, whatever a version's configuration says.
"""

import re

# Consumed by couriers: webhooks to deliver.
WEBHOOKS = "webhooks"
# Consumed by workers and couriers: the clock's sweeps.
SWEEPS = "sweeps"
# Consumed by every accelerator worker: where a prediction waits when no worker is known to be alive.
ANY = "any"
# Consumed by nobody: where a prediction waits that no live worker has the memory for. The sweep looks for a
# worker.
UNPLACED = "unplaced"

# Consumed by gateway workers, which run nothing themselves and call backends.
BACKENDS = "backends"
# Classes of devices: all that a worker can be started on (engine/devices.py).
CLASSES = ("cuda", "rocm", "mps", "xpu", "openvino", "qnn", "cpu")
LONGEST_HOST = 100  # with a device's name it fits the column of a queue's name

_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_DEVICE = re.compile(
    rf"(?P<device>(?:{'|'.join(CLASSES)})(?::(?:0|[1-9]\d{{0,2}}))?)(?:@(?P<host>{_HOST}))?\Z"
)
_GATEWAY = re.compile(rf"{BACKENDS}(?:@(?P<host>{_HOST}))?\Z")


def pinned(device: str, host: str) -> str:
    """The queue that one worker alone consumes, e.g. `cuda:0@host7`."""
    return f"{device}@{host}"


def queues_of(device: str, host: str) -> list[str]:
    """What a worker consumes: its own pinned queue, its class's, and, of a device, the one for when no worker
    is known."""
    own = [pinned(device, host), device_class(device)]
    return own if device_class(device) == BACKENDS else [*own, ANY]


def device_class(device: str) -> str:
    """`cuda:0` -> `cuda`; also of a pinned queue's name."""
    return device.split("@", 1)[0].split(":", 1)[0]


def is_device(text: str) -> bool:
    """Whether it is a class, a device, or one worker's queue, in the one form that these have."""
    match = _DEVICE.match(text)
    return match is not None and len(match["host"] or "") <= LONGEST_HOST


def is_queue(text: str) -> bool:
    """Whether predictions may wait in a queue of this name."""
    return text in (ANY, UNPLACED) or is_device(text) or _is_of_gateways(text)


def _is_of_gateways(text: str) -> bool:
    match = _GATEWAY.match(text)
    return match is not None and len(match["host"] or "") <= LONGEST_HOST


def as_host(text: str) -> str:
    """A machine's name, or any other, as it may stand in a queue's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip("._-")[:LONGEST_HOST] or "host"
