"""The works of one version that have no ending yet: who waits here, who was sent, who is tried apart after a
crash.

Plain data without a lock (the host's guards it), a process or a clock.
"""

import itertools
from collections.abc import Iterable, Sequence

from app.domain.work import Canceled, Crashed, Event
from app.engine import retry_policy
from app.engine.work_items import WorkItem

# Works remembered as killers: another attempt of one runs by itself from the start and costs no neighbour a
# restart.
REMEMBERED = 256


class OpenWork:
    """`open` by wire id, in order of arrival."""

    def __init__(self) -> None:
        self.open: dict[str, WorkItem] = {}
        self._unsent: dict[str, WorkItem] = {}
        self._isolated = 0
        self._names = itertools.count(1)
        self._known_crashers: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.open)

    @property
    def in_flight(self) -> int:
        """How many were sent and have no answer yet."""
        return len(self.open) - len(self._unsent)

    def add(self, item: WorkItem) -> None:
        self.open[item.wire_id] = self._unsent[item.wire_id] = item
        if item.work.id in self._known_crashers:
            self._isolate([item])

    def due(self) -> list[WorkItem]:
        """Those to be sent now. While anybody is tried apart, only one such group is inside the process.

        So a death tells about that group and nobody else: a preparation that kills would otherwise blame the
        batch beside it.
        """
        if not self._unsent or not self._isolated:
            return list(self._unsent.values())
        if self.in_flight:
            return []
        first = next(item.isolation_group for item in self.open.values() if item.isolation_group)
        return [item for item in self._unsent.values() if item.isolation_group == first]

    def claim(self, items: Iterable[WorkItem]) -> None:
        """They are being sent."""
        for item in items:
            item.sent = True
            self._unsent.pop(item.wire_id, None)

    def end(self, item: WorkItem, event: Event) -> bool:
        """Gives the work its ending, once."""
        if self.open.get(item.wire_id) is not item:
            return False
        del self.open[item.wire_id]
        self._unsent.pop(item.wire_id, None)
        self._isolated -= bool(item.isolation_group)
        item.put_end(event)
        return True

    def end_all(self, event: Event) -> None:
        for item in list(self.open.values()):
            self.end(item, event)

    def suspects(self) -> list[WorkItem]:
        """Of a process that died just now: the batch that ran, or all that had been sent when none ran."""
        sent = [item for item in self.open.values() if item.sent]
        return [item for item in sent if item.started] or sent

    def blame(self, reason: str) -> None:
        """A work that was alone in the process is the culprit; of several, those in the batch are tried
        apart."""
        sent = sum(item.sent for item in self.open.values())
        suspects = self.suspects()
        if sent == 1:
            self._blame_one(suspects[0], reason)
        else:
            self.isolate(suspects)

    def _blame_one(self, item: WorkItem, reason: str) -> None:
        self._known_crashers[item.work.id] = None
        if len(self._known_crashers) > REMEMBERED:
            del self._known_crashers[next(iter(self._known_crashers))]
        self.end(item, Crashed(f"the model crashed on this input: {reason}"))

    def isolate(self, suspects: Sequence[WorkItem]) -> None:
        """In smaller groups next time, each by itself."""
        for item in suspects:
            item.deaths += 1
        for group in retry_policy.isolation_groups(
            suspects, max((item.deaths for item in suspects), default=0)
        ):
            self._isolate(group)

    def survive(self, reason: str) -> None:
        """Their process is gone: those that had been sent wait again, unless they were canceled or it is
        enough."""
        for item in [item for item in self.open.values() if item.sent]:
            item.reset()
            self._unsent[item.wire_id] = item
            if item.cancel_at:
                self.end(item, Canceled())
            elif item.resends > retry_policy.MOST_RESENDS:
                self.end(
                    item,
                    Crashed(f"the model's process ended {item.resends} times before an answer; {reason}"),
                )
            elif item.resends >= retry_policy.BYSTANDER_DEATHS and not item.isolation_group:
                self._isolate([item])

    def _isolate(self, group: Sequence[WorkItem]) -> None:
        name = f"trial-{next(self._names)}"
        for item in group:
            self._isolated += not item.isolation_group
            item.isolation_group = name
