"""What a deleted account leaves behind goes, part by part, and nothing of anybody else's."""

import pytest
from moving import accepted, claimed, ending, living_worker, now
from sqlalchemy import text

from app.composition_core import Core
from app.db import users
from app.domain.predictions import Prediction, Status
from app.domain.users import NewUser, User
from app.services.predictions import purge


def make_user(core: Core, name: str) -> User:
    values = {"email": f"{name}@example.com", "username": name, "password_hash": "x"}
    with core.database.unit() as session:
        return users.add(session, NewUser(**values, webhook_secret="whsec_eA=="))


def ended(core: Core, user: User) -> Prediction:
    """With a file in its output, and a webhook that waits."""
    one = claimed(core, living_worker(core), user_id=str(user.id), webhook="http://receiver.test/")
    core.storage.put(f"outputs/{one.id}/1/x.txt", b"secret", "text/plain")
    core.lifecycle.finish([ending(one, output={"$file": f"outputs/{one.id}/1/x.txt"})])
    return one


def uploaded(core: Core, user: User, number: int) -> str:
    file_id = f"{number:026}"
    core.storage.put(f"files/{file_id}", b"secret", "text/plain")
    values = (
        f"('{file_id}', '{user.id}', 'x', 'text/plain', 6, '', '', 'files/{file_id}', now() + interval '1 h')"
    )
    columns = "id, user_id, name, content_type, size, sha256, md5, storage_key, expires_at"
    with core.database.unit() as session:
        session.execute(text(f"INSERT INTO files ({columns}) VALUES {values}"))
    return file_id


def delete(core: Core, user: User) -> None:
    with core.database.unit() as session:
        users.mark_deleted(session, user)


def value(core: Core, statement: str) -> object:
    with core.database.unit() as session:
        return session.scalar(text(statement))


def test_predictions_are_canceled_and_all_data_goes_but_that_of_others(core: Core) -> None:
    ada, bob = make_user(core, "ada"), make_user(core, "bob")
    done, others = ended(core, ada), ended(core, bob)
    waiting = accepted(core, user_id=str(ada.id))
    running = claimed(core, living_worker(core), user_id=str(ada.id))
    uploaded(core, ada, 1)
    kept = uploaded(core, bob, 2)
    delete(core, ada)
    core.recovery().sweep()
    assert (now(core, waiting).status, now(core, waiting).error) == (Status.CANCELED, purge.REASON)
    assert now(core, running).cancel_requested
    assert now(core, done).data_removed_at is not None
    assert [*core.storage.list(f"outputs/{done.id}/")] == []
    assert [*core.storage.list("files/")] == [f"files/{kept}"]
    assert value(core, f"SELECT count(*) FROM deliveries WHERE prediction_id = '{done.id}'") == 0
    core.lifecycle.finish([ending(running, Status.CANCELED)])
    core.recovery().sweep()
    assert now(core, running).data_removed_at is not None
    assert now(core, others).data_removed_at is None
    assert [*core.storage.list(f"outputs/{others.id}/")] != []


def test_a_large_account_goes_in_parts_and_is_done_after_an_hour(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "PREDICTIONS", 2)
    ada = make_user(core, "ada")
    predictions = [ended(core, ada) for _ in range(5)]
    delete(core, ada)
    account_purge = purge.AccountPurge(core.database, core.lifecycle, core.storage, core.removal())
    assert [account_purge.run() for _ in range(4)] == [2, 2, 1, 0]
    assert all(now(core, each).data_removed_at for each in predictions)
    late = ended(core, ada)  # by a process that still trusted a key
    assert account_purge.run() == 1
    assert now(core, late).data_removed_at is not None
    assert value(core, "SELECT purge_after FROM users") == late.id
    with core.database.unit() as session:
        session.execute(text("UPDATE users SET deleted_at = now() - interval '2 h'"))
    account_purge.run()
    assert value(core, "SELECT purge_after FROM users") is None
    assert value(core, "SELECT email FROM users") == f"deleted {ada.id}"
