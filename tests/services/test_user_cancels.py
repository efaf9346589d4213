"""One call cancels all that a user has waiting, whatever ends in between; so does disabling the account."""

import pytest
from moving import accepted, claimed, living_worker, now
from sqlalchemy import text
from test_account_purge import make_user

from app.composition_core import Core
from app.db import users
from app.domain.errors import Forbidden, NotFound
from app.domain.predictions import Status
from app.services.people.access import SCOPES, Principal
from app.services.predictions import user_cancels
from app.services.predictions.user_cancels import UserCancels

ROOT = Principal(None, "root", frozenset(SCOPES), is_admin=True)


def test_one_call_cancels_all_that_waits_and_runs_of_a_user_and_nothing_later(core: Core) -> None:
    ada, bob = make_user(core, "ada"), make_user(core, "bob")
    running = claimed(core, living_worker(core), user_id=str(ada.id))
    waiting = [accepted(core, user_id=str(ada.id)) for _ in range(3)]
    others = [accepted(core, user_id=str(bob.id)), accepted(core)]
    cancels = UserCancels(core.database, core.lifecycle)
    done = cancels.cancel_all(ROOT, "ada")
    assert (done.canceled, done.is_done) == (4, True)
    assert {now(core, each).status for each in waiting} == {Status.CANCELED}
    assert now(core, waiting[0]).error == user_cancels.BY_ADMINISTRATOR
    assert now(core, running).cancel_requested
    later = accepted(core, user_id=str(ada.id), id="z" * 26)
    assert cancels.run() == 0
    assert {now(core, each).status for each in (*others, later)} == {Status.STARTING}


def test_what_a_call_leaves_the_sweeps_cancel(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_cancels, "GROUP", 2)
    monkeypatch.setattr(user_cancels, "CALL_SECONDS", 0.0)
    ada = make_user(core, "ada")
    waiting = [accepted(core, user_id=str(ada.id)) for _ in range(5)]
    first = UserCancels(core.database, core.lifecycle).cancel_all(ROOT, "ada")
    assert (first.canceled, first.is_done) == (2, False)
    core.recovery().sweep()
    assert {now(core, each).status for each in waiting} == {Status.CANCELED}
    with core.database.unit() as session:
        assert users.to_cancel(session, 10) == []


def test_what_comes_late_of_a_disabled_account_is_canceled_for_an_hour(core: Core) -> None:
    ada = make_user(core, "ada")
    running = claimed(core, living_worker(core), user_id=str(ada.id))
    with core.database.unit() as session:
        users.set_disabled(session, ada, True)
    late = accepted(core, user_id=str(ada.id))
    core.recovery().sweep()
    assert (now(core, late).status, now(core, late).error) == (Status.CANCELED, user_cancels.DISABLED)
    assert not now(core, running).cancel_requested
    with core.database.unit() as session:
        session.execute(text("UPDATE users SET disabled_at = now() - interval '61 min'"))
    much_later = accepted(core, user_id=str(ada.id))
    core.recovery().sweep()
    assert now(core, much_later).status is Status.STARTING


def test_only_an_administrator_and_only_somebody_who_exists(core: Core) -> None:
    cancels = UserCancels(core.database, core.lifecycle)
    with pytest.raises(Forbidden):
        cancels.cancel_all(Principal(None, "ada", frozenset({"predict"})), "ada")
    for name in ("nobody", "\x00", "x" * 500):
        with pytest.raises(NotFound):
            cancels.cancel_all(ROOT, name)
