"""A program that is started once something has come about, which is waited for on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.local.programs import Program

STOP_S = 3.0

Await = Callable[[threading.Event], bool]


@dataclass(eq=False)
class OnDemand:
    """`wait` returns True when the program is needed, and False when the event is set: nobody asks any
    more."""

    program: Program
    wait: Await
    is_needed: bool = False
    _given_up: threading.Event = field(default_factory=threading.Event)

    def start(self) -> OnDemand:
        self._thread = threading.Thread(target=self._run, name=f"await-{self.program.name}", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        self.is_needed = self.wait(self._given_up)

    def stop(self) -> None:
        """Waits no more."""
        self._given_up.set()
        self._thread.join(STOP_S)
