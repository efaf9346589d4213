"""A worker as the platform keeps it: one incarnation of a process on one device."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassCount:
    """The live workers of one class of device, and the predictions that they take at once."""

    device_class: str
    workers: int
    slots: int
