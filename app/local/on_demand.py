"""A program that runs while something needs it, which is watched on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app.local.programs import Program

STOP_S = 3.0

SetNeeded = Callable[[bool], None]
Watch = Callable[[threading.Event, SetNeeded], None]


def _nobody_listens() -> None:
    """Until it is started."""


@dataclass(eq=False)
class OnDemand:
    """`watch` says at each of its looks whether the program is needed, until the event is set. Nobody
    asks any more then. `on_change` is called on its thread."""

    program: Program
    watch: Watch
    is_needed: bool = False
    on_change: Callable[[], None] = _nobody_listens
    _given_up: threading.Event = field(default_factory=threading.Event)

    def start(self) -> OnDemand:
        self._thread = threading.Thread(target=self._run, name=f"watch-{self.program.name}", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        self.watch(self._given_up, self._set_needed)

    def _set_needed(self, needed: bool) -> None:
        if needed != self.is_needed:
            self.is_needed = needed
            self.on_change()

    def stop(self) -> None:
        """Watches no more."""
        self._given_up.set()
        self._thread.join(STOP_S)
