"""Who this worker is in the database."""

from uuid import UUID, uuid4


class WorkerIdentity:
    """`id` is this incarnation: it fences everything that the worker writes. Read by many threads, renewed by
    one."""

    def __init__(self) -> None:
        self.id: UUID = uuid4()

    def renew(self, worker: UUID) -> None:
        """A new incarnation, registered already: whatever was claimed under the old one is no longer ours."""
        self.id = worker
