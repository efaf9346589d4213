"""Sessions: a worker's address and a short-lived token, for clients that call the worker itself. Nothing of a
session is stored."""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from app.domain.errors import Unavailable
from app.domain.routing import WorkerFacts
from app.domain.versions import RunnableVersion
from app.domain.worker_sessions import Requirements, choose_worker
from app.services.people.access import Principal
from app.services.people.worker_tokens import LIFETIME_SECONDS, GrantSigner, WorkerGrant
from app.services.platform.fleet import Fleet

RETRY_SECONDS = 5.0
NOBODY = "No live worker that could run this model takes direct calls now: set GRPC_PORT for workers."
UNMET = "No live worker that takes direct calls and could run this model has what the session requires: {}."


@dataclass(frozen=True, slots=True)
class WorkerSession:
    """`address` is host:port. `tls`: "server", "mutual" (the client needs a certificate, too), or "".
    `certificate`: the SHA-256 of the worker's, in hex."""

    address: str
    tls: str
    certificate: str
    token: str
    grant: WorkerGrant


class WorkerSessions:
    """Used on the event loop of an API process."""

    def __init__(self, fleet: Fleet, signer: GrantSigner) -> None:
        self._fleet, self._signer = fleet, signer

    async def open(
        self,
        caller: Principal,
        version: RunnableVersion,
        requirements: Requirements,
        *,
        affinity: str = "",
        exclude: Collection[str] = (),
        records_later: bool = False,
    ) -> WorkerSession:
        """Workers of the names in `exclude` only where there is no other. `records_later` as in WorkerGrant.
        Raises InvalidRequest for requirements that can't be met, Unavailable where no worker that meets them
        takes direct calls."""
        requirements.check(version)
        candidates = (await self._fleet.explain(version.id, version.config)).candidates
        key = f"{caller.user_id}\x00{affinity}" if affinity else ""
        worker = choose_worker(requirements.select(candidates), key, exclude)
        if worker is None:
            wishes = requirements.worker_wishes if choose_worker(candidates) else ""
            raise Unavailable(UNMET.format(wishes) if wishes else NOBODY, retry_after=RETRY_SECONDS)
        grant = replace(self._grant(caller, version, worker), records_later=records_later)
        return WorkerSession(worker.address, worker.tls, worker.certificate, self._signer.issue(grant), grant)

    @staticmethod
    def _grant(caller: Principal, version: RunnableVersion, worker: WorkerFacts) -> WorkerGrant:
        return WorkerGrant(
            worker.pinned,
            caller.user_id,
            caller.username,
            version.model,
            version.id,
            int(time.time()) + LIFETIME_SECONDS,
            caller.key_id,
        )
