"""Waiting for what comes about by itself."""

import time
from collections.abc import Callable
from typing import Any

SHORTEST, LONGEST = (
    0.005,
    0.1,
)  # seconds between two looks: short at first, then not a burden to who is waited for


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer; an AssertionError when none comes in time."""
    until, pause = time.monotonic() + seconds, SHORTEST
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {condition}"
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)
    return value
