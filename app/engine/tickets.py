"""The works of one version that have no ending yet: who waits here, who was sent, who is tried apart after a crash.

Plain data without a lock (the host's guards it), a process or a clock.
"""

import itertools
from collections.abc import Iterable, Sequence

from app.domain.work import Canceled, Crashed, Event
from app.engine import retry_policy
from app.engine.handle import Ticket

# Works remembered as killers: another attempt of one runs by itself from the start and costs no neighbour a restart.
REMEMBERED = 256


class Tickets:
    """`open` by wire id, in order of arrival."""

    def __init__(self) -> None:
        self.open: dict[str, Ticket] = {}
        self._unsent: dict[str, Ticket] = {}
        self._apart = 0
        self._names = itertools.count(1)
        self._killers: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.open)

    @property
    def in_flight(self) -> int:
        """How many were sent and have no answer yet."""
        return len(self.open) - len(self._unsent)

    def add(self, ticket: Ticket) -> None:
        self.open[ticket.wire_id] = self._unsent[ticket.wire_id] = ticket
        if ticket.work.id in self._killers:
            self._set_apart([ticket])

    def due(self) -> list[Ticket]:
        """Those to be sent now. While anybody is tried apart, only one such group is inside the process.

        So a death tells about that group and nobody else: a preparation that kills would otherwise blame the batch
        beside it.
        """
        if not self._unsent or not self._apart:
            return list(self._unsent.values())
        if self.in_flight:
            return []
        first = next(ticket.trial for ticket in self.open.values() if ticket.trial)
        return [ticket for ticket in self._unsent.values() if ticket.trial == first]

    def claim(self, tickets: Iterable[Ticket]) -> None:
        """They are being sent."""
        for ticket in tickets:
            ticket.sent = True
            self._unsent.pop(ticket.wire_id, None)

    def end(self, ticket: Ticket, event: Event) -> bool:
        """Gives the work its ending, once."""
        if self.open.get(ticket.wire_id) is not ticket:
            return False
        del self.open[ticket.wire_id]
        self._unsent.pop(ticket.wire_id, None)
        self._apart -= bool(ticket.trial)
        ticket.put_end(event)
        return True

    def end_all(self, event: Event) -> None:
        for ticket in list(self.open.values()):
            self.end(ticket, event)

    def suspects(self) -> list[Ticket]:
        """Of a process that died just now: the batch that ran, or all that had been sent when none ran."""
        sent = [ticket for ticket in self.open.values() if ticket.sent]
        return [ticket for ticket in sent if ticket.started] or sent

    def blame(self, reason: str) -> None:
        """A work that was alone in the process is the culprit; of several, those in the batch are tried apart."""
        sent = sum(ticket.sent for ticket in self.open.values())
        suspects = self.suspects()
        if sent == 1:
            self._convict(suspects[0], reason)
        else:
            self.try_apart(suspects)

    def _convict(self, ticket: Ticket, reason: str) -> None:
        self._killers[ticket.work.id] = None
        if len(self._killers) > REMEMBERED:
            del self._killers[next(iter(self._killers))]
        self.end(ticket, Crashed(f"the model crashed on this input: {reason}"))

    def try_apart(self, suspects: Sequence[Ticket]) -> None:
        """In smaller groups next time, each by itself."""
        for ticket in suspects:
            ticket.deaths += 1
        for group in retry_policy.trials(suspects, max((ticket.deaths for ticket in suspects), default=0)):
            self._set_apart(group)

    def survive(self, reason: str) -> None:
        """Their process is gone: those that had been sent wait again, unless they were canceled or it is enough."""
        for ticket in [ticket for ticket in self.open.values() if ticket.sent]:
            ticket.reset()
            self._unsent[ticket.wire_id] = ticket
            if ticket.cancel_at:
                self.end(ticket, Canceled())
            elif ticket.resends > retry_policy.MOST_RESENDS:
                self.end(ticket, Crashed(f"the model's process ended {ticket.resends} times before an answer; {reason}"))
            elif ticket.resends >= retry_policy.BYSTANDER_DEATHS and not ticket.trial:
                self._set_apart([ticket])

    def _set_apart(self, group: Sequence[Ticket]) -> None:
        name = f"trial-{next(self._names)}"
        for ticket in group:
            self._apart += not ticket.trial
            ticket.trial = name
