"""How much of a device's memory a worker's models may take, beside other workers and beside programs that
have reserved some."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.engine import devices
from app.engine.devices import Device
from app.memory_reservations import MemoryReservations

# Shares of the free memory that loaded models may take together; the rest is for what runs make.
ACCELERATOR_SHARE, MACHINE_SHARE = 0.85, 0.5


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """`budget_bytes` for this worker's models, of which `reserved()` are promised to others now."""

    budget_bytes: int
    reserved: Callable[[], int]


def share_of(device: Device, budget_bytes: int, workers: int, reservations: Path) -> DeviceShare:
    """An accelerator is its worker's alone; the machine's memory is for all `workers`. `budget_bytes`: as it
    is set, 0: a share of what is free now, with what those who have reserved it hold already."""
    alone = device.kind in devices.OWN_MEMORY
    workers = 1 if alone else max(1, workers)
    folder = MemoryReservations(reservations)
    if not budget_bytes:
        share = ACCELERATOR_SHARE if alone else MACHINE_SHARE / workers
        used = folder.bytes_on(device.id, used_only=True) // workers
        budget_bytes = int(devices.free_bytes(device) * share) + used
    return DeviceShare(budget_bytes, lambda: folder.bytes_on(device.id) // workers)


def free_bytes_of(name: str) -> int:
    """Of a device, by its name. Raises ValueError where there is none of that name."""
    return devices.free_bytes(devices.resolve(name))


def total_bytes_of(name: str) -> int:
    """Of a device, by its name. Raises ValueError."""
    return devices.resolve(name).total_bytes
