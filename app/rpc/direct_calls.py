"""From a call to its prediction: who calls, which version, opened, and canceled when the caller leaves.
Knows no wire format."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from app.db import predictions as table
from app.domain.errors import (
    Forbidden,
    LovageError,
    NotFound,
    Unauthenticated,
    Unavailable,
    wrong_field,
)
from app.domain.predictions import Prediction
from app.domain.versions import RunnableVersion, is_name
from app.rpc.direct_opening import DirectOpener, DirectParts, GrantedPrincipal
from app.rpc.direct_run import DirectRun
from app.rpc.errors import Context
from app.services.people.access import Principal

RETRY_SECONDS = 0.5
KEPT = 512  # versions of sessions
ANOTHER = "Ask for another session (POST /v1/sessions)."
DRAINING = "This worker takes nothing new: it is stopping. Ask for another."


class DirectCalls:
    """One for each worker with a GRPC_PORT, on its server's loop."""

    def __init__(self, parts: DirectParts) -> None:
        self._parts = parts
        self.open = DirectOpener(parts).open
        self._versions: dict[str, RunnableVersion] = {}
        self.draining = False

    async def caller(self, context: Context) -> Principal:
        """Who calls, by the metadata `authorization`, or else by the client's certificate. Raises
        Unauthenticated, Unavailable."""
        if self.draining:
            raise Unavailable(DRAINING, retry_after=RETRY_SECONDS)
        metadata = {key: value for key, value in context.invocation_metadata() or ()}
        header = metadata.get("authorization")
        if header is None and (caller := await self._certified(context)):
            return caller
        return self._granted(str(header or "")) or await self._parts.access.principal(
            str(header) if header is not None else None
        )

    async def _certified(self, context: Context) -> Principal | None:
        """By the connection's certificate, of a caller without a token. Raises Unauthenticated."""
        users = self._parts.certificate_users
        username = users.username(context)
        if username is None:
            return None
        caller = await self._parts.access.user(username)
        if caller is None:
            name = users.name(context)[:100]
            raise Unauthenticated(
                f"The certificate {name!r} stands for {username[:100]!r}, who is no user here."
            )
        return caller

    async def expiry(self, context: Context) -> float | None:
        """The Unix time at which the caller's session ends; None for a caller with a key. Raises
        Unauthenticated, Unavailable."""
        caller = await self.caller(context)
        return caller.grant.expires_at if isinstance(caller, GrantedPrincipal) and caller.grant else None

    def _granted(self, header: str) -> GrantedPrincipal | None:
        """By a session's token, which asks nobody. Raises Unauthenticated."""
        scheme, _, token = header.partition(" ")
        try:
            grant = self._parts.verifier.verify(token.strip()) if scheme.lower() == "bearer" else None
        except ValueError as error:
            raise Unauthenticated(f"The session's token is refused: {error}. {ANOTHER}") from None
        if grant is None:
            return None
        scopes = frozenset({"predict"})
        return GrantedPrincipal(grant.user_id, grant.username, scopes, key_id=grant.key_id, grant=grant)

    async def version(self, caller: Principal, model: str, version: str) -> RunnableVersion:
        """What is to run. Raises NotFound, InvalidRequest."""
        caller.need("predict")
        if isinstance(caller, GrantedPrincipal):
            return await self._granted_version(caller, model, version)
        if version and not is_name(version):
            raise wrong_field("model_version", "must be empty, a version's id (64 hex digits) or its tag")
        reference = await self._parts.names.reference(caller, model)
        name = reference.partition(":")[0] if version and "/" in reference else reference
        try:
            return await self._parts.names.runnable(caller, f"{name}:{version}" if version else name)
        except LovageError as error:
            if isinstance(error, Unavailable):
                raise
            raise NotFound(
                f"The model {model[:200]!r} does not exist or you do not have access to it."
            ) from None

    async def _granted_version(self, caller: GrantedPrincipal, model: str, version: str) -> RunnableVersion:
        """The session's own, kept once it is known: versions never change. Raises Forbidden."""
        grant = caller.grant
        assert grant is not None
        names = (grant.model, grant.model.partition("/")[2], grant.version, f"{grant.model}:{grant.version}")
        if model not in names or version not in ("", grant.version):
            raise Forbidden(f"This session is for {grant.model}, not for {model[:200]!r}. {ANOTHER}")
        kept = self._versions.get(grant.version)
        if kept is None:
            kept = await self._parts.names.runnable(caller, grant.version)
            if len(self._versions) >= KEPT:
                self._versions.clear()
            self._versions[grant.version] = kept
        return kept

    def cancel(self, run: DirectRun) -> None:
        """Stops it, soon."""
        self._parts.runner.in_flight.cancel([run.prediction.id])

    def cancel_id(self, caller: Principal, prediction_id: str) -> bool:
        """Stops the caller's own prediction, if it runs here."""
        runs = self._parts.runner.in_flight.list_all()
        mine = [run for run in runs if run.prediction.id == prediction_id]
        if not mine or not (caller.owns(mine[0].prediction.user_id) or caller.is_operator):
            return False
        self._parts.runner.in_flight.cancel([prediction_id])
        return True

    async def finish(self, run: DirectRun) -> Any:
        """The output when the end is recorded, or may be answered before, its files as signed URLs. A caller
        that leaves cancels it.
        Raises RunEnded."""
        try:
            status = await run.answered()
        except asyncio.CancelledError:
            self.cancel(run)
            raise
        run.require_success(status)
        return await self.output_of(run)

    async def output_of(self, run: DirectRun) -> Any:
        """What it has answered."""
        if not run.has_files:
            return run.output
        return await self._off_loop(partial(self._read_output, run.prediction.id))

    def _read_output(self, prediction_id: str) -> Any:
        with self._parts.database.autocommit() as statement:
            prediction: Prediction = table.get(statement, [prediction_id])[prediction_id]
        output = self._parts.stored.whole_output(prediction)
        return self._parts.view.with_links(output, prediction_id, "")

    @staticmethod
    async def _off_loop(call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, call)


def seconds_until(moment: float | None) -> float | None:
    """From now to a Unix time, at least 0; None for no such time."""
    return None if moment is None else max(0.0, moment - time.time())
