"""What administrators do with workers: see, drain, resume. Calls block."""

from collections.abc import Callable, Collection, Sequence

from app.db import workers
from app.db.session import Database
from app.domain.errors import Conflict, NotFound
from app.domain.workers import Worker
from app.events.fleet_changes import FleetChangePublisher
from app.services.people.access import Principal


class FleetOperations:
    """One for each API process. Every method raises Forbidden for anybody but an administrator."""

    def __init__(self, database: Database, fleet_changes: FleetChangePublisher, dead_after: float) -> None:
        self._database, self._dead_after = database, dead_after
        self._fleet_changes = fleet_changes

    def list_workers(self, principal: Principal) -> list[Worker]:
        """The live ones."""
        principal.need_operator("see and change queues and workers")
        with self._database.unit() as session:
            return workers.live(session, self._dead_after)

    def drain(self, principal: Principal, name: str) -> Worker:
        """The worker hands back what it has not begun, ends the rest within its grace, and takes nothing new
        until `resume` or its restart. Raises NotFound, Conflict for a name that several have."""
        return self._set_queues(principal, name, lambda _: [])

    def resume(self, principal: Principal, name: str) -> Worker:
        """It takes predictions again. Raises as `drain`."""
        return self._set_queues(principal, name, lambda worker: worker.readable_queues)

    def _set_queues(
        self, principal: Principal, name: str, queues_of: Callable[[Worker], list[str]]
    ) -> Worker:
        principal.need_operator("see and change queues and workers")
        with self._database.unit() as session:
            worker = only(workers.live(session, self._dead_after), name)
            changed = workers.set_queues(session, worker.id, queues_of(worker))
        self._fleet_changes.publish()
        return changed


def only(live: Sequence[Worker], name: str) -> Worker:
    """By its id, or by its name while only one has it."""
    named = [worker for worker in live if name in (str(worker.id), worker.name)]
    if len(named) == 1:
        return named[0]
    if named:
        raise Conflict(
            f"{len(named)} workers are called {name}; their ids: {listed([str(each.id) for each in named])}."
        )
    names = listed({each.name for each in live})
    raise NotFound(f"No live worker is called {name!r}; there are: {names}.")


def listed(names: Collection[str]) -> str:
    """For a sentence."""
    return ", ".join(sorted(names)) or "none"
