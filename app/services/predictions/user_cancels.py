"""Cancels for administrators: somebody's prediction, all that a user has, what waits of a disabled account.

What is to be canceled is written down first, so that one call is enough however much waits: it cancels what
it can in a few seconds, and the sweeps go on with the rest, whatever dies in between.
"""

import time
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from app.db import sweeps, users
from app.db.session import Database
from app.domain.errors import NotFound
from app.domain.predictions import Prediction, lowest_id
from app.domain.versions import is_name
from app.services.people.access import NO_USER, Principal
from app.services.predictions.follow import NO_PREDICTION
from app.services.predictions.lifecycle import Lifecycle

log = structlog.get_logger(__name__)

GROUP = 500  # predictions of one statement that finds them
CALL_SECONDS, SWEEP_SECONDS = 5.0, 2.0
USERS = 10  # of one sweep
# What another process accepts while it still trusts a key of a disabled account is canceled, too.
DISABLED_HOURS = 1
LAST_ID = "z" * 26
BY_ADMINISTRATOR = "An administrator canceled it."
DISABLED = "Its account was disabled."


@dataclass(frozen=True, slots=True)
class UserCancel:
    """How many were canceled. Not `is_done`: more wait, and the sweeps cancel them."""

    canceled: int
    is_done: bool


class UserCancels:
    """Every method blocks."""

    def __init__(self, database: Database, lifecycle: Lifecycle) -> None:
        self._database, self._lifecycle = database, lifecycle

    def cancel_all(self, principal: Principal, username: str) -> UserCancel:
        """Cancels all predictions of a user that have been accepted by now; the running ones stop at their
        next step. Raises Forbidden for anybody but an administrator, NotFound."""
        principal.need_operator("cancel other people's predictions")
        up_to = lowest_id(time.time_ns() // 1_000_000 + 1)
        with self._database.unit() as session:
            user = users.by_username(session, username) if is_name(username) else None
            if user is None:
                raise NotFound(NO_USER)
            users.set_cancel(session, user.id, up_to)
        return self._cancel_up_to(user.id, up_to, time.monotonic() + CALL_SECONDS)

    def cancel_one(self, principal: Principal, prediction: Prediction) -> Prediction:
        """Cancels a prediction of the caller's own; for an administrator anybody's, of somebody else's
        without what it was called with and what it answered. Raises NotFound."""
        is_own = principal.owns(prediction.user_id)
        if not (is_own or principal.is_operator):
            raise NotFound(NO_PREDICTION)
        if not prediction.ended:
            reason = None if is_own else BY_ADMINISTRATOR
            prediction = self._lifecycle.cancel([prediction.id], reason)[prediction.id]
        return prediction if is_own else without_content(prediction)

    def cancel_waiting(self, user_id: UUID) -> UserCancel:
        """Of an account that was disabled, what waits; what runs goes on."""
        return self._cancel_waiting(user_id, LAST_ID, DISABLED, time.monotonic() + CALL_SECONDS)

    def run(self) -> int:
        """The next part of what is to be canceled. Returns how many were."""
        until, canceled = time.monotonic() + SWEEP_SECONDS, 0
        with self._database.unit() as session:
            pending = users.to_cancel(session, USERS)
            disabled = users.disabled_lately(session, DISABLED_HOURS)
        for user_id, up_to in pending:
            canceled += self._cancel_up_to(user_id, up_to, until).canceled
        for user_id in disabled:
            canceled += self._cancel_waiting(user_id, LAST_ID, DISABLED, until).canceled
        if canceled:
            log.info("canceled_of_users", count=canceled)
        return canceled

    def _cancel_up_to(self, user_id: UUID, up_to: str, until: float) -> UserCancel:
        """What waits, then what runs: nothing can begin behind the look."""
        waiting = self._cancel_waiting(user_id, up_to, BY_ADMINISTRATOR, until)
        if not waiting.is_done:
            return waiting
        with self._database.unit() as session:
            running = sweeps.running_of_user(session, user_id, up_to, GROUP)
        if running:
            self._lifecycle.cancel(running, BY_ADMINISTRATOR)
        is_done = len(running) < GROUP
        if is_done:
            with self._database.unit() as session:
                users.finish_cancel(session, user_id, up_to)
        return UserCancel(waiting.canceled + len(running), is_done)

    def _cancel_waiting(self, user_id: UUID, up_to: str, reason: str, until: float) -> UserCancel:
        canceled = 0
        while True:
            with self._database.unit() as session:
                ids = sweeps.waiting_of_user(session, user_id, up_to, GROUP)
            if ids:
                self._lifecycle.cancel(ids, reason)
            canceled += len(ids)
            if len(ids) < GROUP or time.monotonic() >= until:
                return UserCancel(canceled, len(ids) < GROUP)


def without_content(prediction: Prediction) -> Prediction:
    """As somebody sees it who is not its owner."""
    values = replace(prediction, input=None, output=None, logs="", left_out=())
    return replace(values, input_key=None, output_key=None)
