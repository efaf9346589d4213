"""Whose turn it is among the users whose predictions wait for one worker: start-time fair queuing on device
seconds (Goyal, Vin and Cheng, 1996), for each version by itself. Knows no clock and no database.

What a user is given of a version is a stretch of virtual time: it starts where the user's last one finished,
or at the version's virtual time if that is later, and is as long as the device seconds that the prediction
takes, divided by the user's weight. The lowest start goes first. The virtual time is the start of what began
to run last, so a user who comes now is level with whoever is served now, owes nothing for the time before and
has saved nothing up. How far a user is past that is `ahead`; who is not past it is level.

Each version is a queue of its own, as its capacity on a worker is: a user of a quick version is not put back
for what another version took. Workers need not agree: each shares its own time.

The seconds are estimated when a prediction is claimed and corrected when it has ended.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.domain.predictions import Prediction

UNMEASURED_SECONDS = 1.0  # of a version that has not run here yet: all users' predictions count alike
WEIGHT = 1.0  # of a user for whom no other is set
# A version that nobody has used for so long begins anew: its users are level.
FORGET_SECONDS = 30.0
# Within a worker a lower band stands so many virtual seconds behind: as much as is claimed ahead at most, so
# an interactive prediction passes what was claimed before it, and nothing waits for more than that.
BAND_SECONDS = 2.0

User = UUID | None  # None: all anonymous callers together


@dataclass(frozen=True, slots=True)
class Charge:
    """What one claimed prediction was given: `start` in virtual seconds of its version, and their `cost`."""

    version: str
    user: User
    start: float
    cost: float
    priority: int

    @property
    def rank(self) -> float:
        """Its place among what waits inside the worker: the lowest runs first."""
        return self.start + BAND_SECONDS * self.priority


@dataclass(slots=True)
class _Version:
    virtual: float = 0.0
    finish: dict[User, float] = field(default_factory=dict)
    open: int = 0
    used_at: float = 0.0


class FairShares:
    """Of one worker. Thread-safe. `pace_of` says how many seconds of the device one of a version takes lately
    (0: not known). `weights` has the users with another than WEIGHT."""

    def __init__(self, pace_of: Callable[[str], float] = lambda version: 0.0) -> None:
        self._pace_of = pace_of
        self.weights: Mapping[User, float] = {}
        self._versions: dict[str, _Version] = {}
        self._lock = threading.Lock()

    def cost(self, version: str, user: User) -> float:
        """The virtual seconds that one of a version is expected to take this user."""
        return (self._pace_of(version) or UNMEASURED_SECONDS) / self.weights.get(user, WEIGHT)

    def charge(self, prediction: Prediction) -> Charge:
        """To the share of its user, as it was claimed."""
        version, user = prediction.version_id, prediction.user_id
        cost = self.cost(version, user)
        with self._lock:
            state = self._versions.setdefault(version, _Version())
            start = max(state.virtual, state.finish.get(user, 0.0))
            state.finish[user] = start + cost
            state.open += 1
        return Charge(version, user, start, cost, prediction.priority)

    def begin(self, charge: Charge) -> None:
        """It runs."""
        with self._lock:
            if (state := self._versions.get(charge.version)) and charge.start > state.virtual:
                state.virtual = charge.start

    def correct(self, charge: Charge | None, seconds: float | None) -> None:
        """It has ended, or went back to waiting, and took the device so many seconds (None: as many as were
        expected). None: nothing was charged."""
        if charge is None:
            return
        weight = self.weights.get(charge.user, WEIGHT)
        correction = 0.0 if seconds is None else seconds / weight - charge.cost
        with self._lock:
            if state := self._versions.get(charge.version):
                state.finish[charge.user] = state.finish.get(charge.user, state.virtual) + correction
                state.open -= 1

    def ahead(self, version: str, user: User) -> float:
        """By how many virtual seconds a user is past the version's virtual time; 0.0: level."""
        with self._lock:
            state = self._versions.get(version)
            return max(0.0, state.finish.get(user, 0.0) - state.virtual) if state else 0.0

    def forget_idle(self, now: float) -> None:
        """Drops versions of which nothing has run for FORGET_SECONDS, and users that are level. `now` in any
        seconds; to be called every few of them."""
        with self._lock:
            for state in self._versions.values():
                if state.open or not state.used_at:
                    state.used_at = now
                late = {user: finish for user, finish in state.finish.items() if finish > state.virtual}
                state.finish = late
            self._versions = {
                version: state
                for version, state in self._versions.items()
                if now - state.used_at <= FORGET_SECONDS
            }
