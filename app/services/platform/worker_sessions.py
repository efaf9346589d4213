"""Sessions: a worker's address and a short-lived token, for clients that call the worker itself. Nothing of a
session is stored."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.domain.errors import Unavailable
from app.domain.routing import WorkerFacts
from app.domain.versions import RunnableVersion
from app.domain.worker_sessions import choose_worker
from app.services.people.access import Principal
from app.services.people.worker_tokens import LIFETIME_SECONDS, GrantSigner, WorkerGrant
from app.services.platform.fleet import Fleet

RETRY_SECONDS = 5.0
NOBODY = "No live worker that could run this model takes direct calls now: set GRPC_PORT for workers."


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
        requirements: Mapping[str, Any],
        *,
        affinity: str = "",
        exclude: Collection[str] = (),
        records_later: bool = False,
    ) -> WorkerSession:
        """With `requirements` beside those of the version (`device`, `memory_bytes`); workers of the names
        in `exclude` only where there is no other. `records_later` as in WorkerGrant. Raises Unavailable where
        no worker takes direct calls."""
        own = version.config.get("require") or {}
        choice = await self._fleet.explain(version.id, {**version.config, "require": {**own, **requirements}})
        key = f"{caller.user_id}\x00{affinity}" if affinity else ""
        worker = choose_worker(choice.candidates, key, exclude)
        if worker is None:
            raise Unavailable(NOBODY, retry_after=RETRY_SECONDS)
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
