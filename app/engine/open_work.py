"""The items of one version that have no ending yet: which wait here, which were sent, which run isolated
after a crash.

Plain data without a lock (the supervisor's guards it), a process or a clock.
"""

import itertools
from collections.abc import Iterable, Sequence

from app.domain.work import Canceled, Crashed, Event
from app.engine import retry_policy
from app.engine.work_items import HALF, WorkItem

# So many that crashed their process are remembered: another attempt of one runs alone from the start and
# costs no neighbour a restart.
REMEMBERED = 256
ALONE = "isolated-"  # of the name of a group that nobody joins


class OpenWork:
    """`open` by wire id, in order of arrival."""

    def __init__(self) -> None:
        self.open: dict[str, WorkItem] = {}
        self._unsent: dict[str, WorkItem] = {}
        self._isolated = 0
        self._group_numbers = itertools.count(1)
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
            self._isolate([item], ALONE)

    def take_due(self) -> list[WorkItem]:
        """Those to be sent now; they count as sent."""
        if not self._unsent:
            return []
        due = self._next_group() if self._isolated else list(self._unsent.values())
        for item in due:
            item.sent = True
            del self._unsent[item.wire_id]
        return due

    def _next_group(self) -> list[WorkItem]:
        """While anybody is isolated, only one group is inside the process, or a half beside those that are
        proven.

        So a death says something about that group and nobody else: a preparation that kills would otherwise
        blame the batch beside it.
        """
        first = next(item.isolation_group for item in self.open.values() if item.isolation_group)
        inside = [item for item in self.open.values() if item.sent]
        if inside and not (first.startswith(HALF) and all(item.is_proven for item in inside)):
            return []
        return [item for item in self._unsent.values() if item.isolation_group == first]

    def add_load_seconds(self, began: float, now: float) -> None:
        """A load has ended that everybody here waited for."""
        for item in self.open.values():
            item.load_seconds += now - max(began, item.accepted_at)

    def end(self, item: WorkItem, event: Event) -> bool:
        """Gives the item its ending, once."""
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

    def possible_causes(self) -> list[WorkItem]:
        """Of a death just now: the batch that ran, or all that had been sent when none ran."""
        sent = [item for item in self.open.values() if item.sent]
        return [item for item in sent if item.started_at] or sent

    def blame(self, reason: str, now: float) -> WorkItem | None:
        """An item that was alone in the process is the cause, and is returned; several of a batch are
        suspects: they come back together once, then in groups."""
        causes = self.possible_causes()
        for item in causes:
            item.deaths += 1
            item.suspected_at = (*item.suspected_at, now)
        if sum(item.sent for item in self.open.values()) == 1:
            self._blame_item(causes[0], reason)
            return causes[0]
        if (deaths := max((item.deaths for item in causes), default=0)) > 1:
            self._split(causes, deaths - 1)
        return None

    def _blame_item(self, item: WorkItem, reason: str) -> None:
        self._known_crashers[item.work.id] = None
        if len(self._known_crashers) > REMEMBERED:
            del self._known_crashers[next(iter(self._known_crashers))]
        self.end(item, Crashed(f"the model crashed on this input: {reason}"))

    def isolate(self, items: Sequence[WorkItem]) -> None:
        """They hung together, and run in smaller groups next time, each group by itself."""
        for item in items:
            item.deaths += 1
        self._split(items, max((item.deaths for item in items), default=0))

    def _split(self, items: Sequence[WorkItem], deaths: int) -> None:
        groups = retry_policy.isolation_groups(items, deaths)
        for group in groups:
            self._isolate(group, HALF if len(group) > 1 else ALONE)

    def on_progress(self, item: WorkItem, now: float) -> None:
        """An item that goes on for a while did not kill the process before. When all of a half do, the other
        half need not wait for their end."""
        if (
            now - item.started_at < retry_policy.PROVEN_SECONDS
            or item.resends >= retry_policy.BYSTANDER_DEATHS
        ):
            return
        if not item.isolation_group:
            item.deaths = 0
        elif item.isolation_group.startswith(HALF):
            item.is_proven = True
            half = [each for each in self.open.values() if each.isolation_group == item.isolation_group]
            if all(each.is_proven for each in half):
                self._release(half)

    def _release(self, half: Sequence[WorkItem]) -> None:
        self._isolated -= len(half)
        for item in half:
            item.isolation_group, item.deaths = "", 0

    def requeue(self, reason: str, *, interrupted: bool = False) -> None:
        """Their process is gone: those that had been sent wait again, unless they were canceled or were sent
        too often. `interrupted`: it was killed because of others, and says nothing about these."""
        for item in [item for item in self.open.values() if item.sent]:
            item.reset()
            self._unsent[item.wire_id] = item
            if item.cancel_at:
                self.end(item, Canceled())
            elif interrupted:
                item.interruptions += 1
            else:
                self._count_resend(item, reason)
        self._shield()

    def _count_resend(self, item: WorkItem, reason: str) -> None:
        item.resends += 1
        if item.resends > retry_policy.MOST_RESENDS:
            error = f"the model's process ended {item.resends} times before an answer; {reason}"
            self.end(item, Crashed(error))
        elif item.resends >= retry_policy.BYSTANDER_DEATHS and not item.isolation_group.startswith(ALONE):
            self._isolate([item], ALONE)

    def _shield(self) -> None:
        """Those that were interrupted too often run together, and without anybody new."""
        often = [item for item in self.open.values() if item.interruptions >= retry_policy.MOST_INTERRUPTIONS]
        if shielded := [item for item in often if not item.isolation_group]:
            self._isolate(shielded, ALONE)

    def _isolate(self, group: Iterable[WorkItem], kind: str) -> None:
        name = f"{kind}{next(self._group_numbers)}"
        for item in group:
            self._isolated += not item.isolation_group
            item.isolation_group = name
