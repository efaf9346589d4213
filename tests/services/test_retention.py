"""What is kept for how long: inputs, outputs, logs and files of predictions, uploads, webhooks that are done,
the audit log."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from moving import claimed, ending, living_worker, now
from sqlalchemy import text

from app.composition_core import Core
from app.domain.errors import StorageFailed
from app.domain.predictions import Prediction


def ended(core: Core, **more: object) -> Prediction:
    """With a file, logs and a webhook that has been delivered."""
    one = claimed(
        core, living_worker(core), webhook="http://receiver.test/", input={"text": "secret"}, **more
    )
    core.storage.put(f"outputs/{one.id}/1/x.txt", b"secret", "text/plain")
    core.lifecycle.finish([ending(one, output={"$file": f"outputs/{one.id}/1/x.txt"}, logs="secret")])
    return one


def run(core: Core, statement: str) -> list[object]:
    with core.database.unit() as session:
        found = session.execute(text(statement))
        return list(found.scalars()) if found.returns_rows else []  # type: ignore[attr-defined]


def nothing_is_left_of(core: Core, one: Prediction) -> bool:
    found = now(core, one)
    assert found.status == "succeeded", "the record stays"
    return (found.input, found.output, found.logs, list(core.storage.list(f"outputs/{one.id}/"))) == (
        None,
        None,
        "",
        [],
    )


@pytest.mark.parametrize(("hours", "age", "goes"), [(1.0, 2, True), (3.0, 2, False), (0.0, 10_000, False)])
def test_a_predictions_data_goes_after_the_hours_of_the_setting(
    core: Core, hours: float, age: int, goes: bool
) -> None:
    core.limits = replace(core.limits, retention_hours=hours)
    one = ended(core)
    run(core, f"UPDATE predictions SET completed_at = now() - interval '{age} h'")
    core.recovery().sweep()
    assert nothing_is_left_of(core, one) is goes
    assert (now(core, one).data_removed_at is not None) is goes


def test_a_predictions_data_goes_at_once_on_request_with_its_files_and_webhooks(core: Core) -> None:
    one, other = ended(core), ended(core)
    removal = core.removal()
    for _ in range(2):
        removal.remove(now(core, one))
    assert nothing_is_left_of(core, one)
    assert run(core, "SELECT prediction_id FROM deliveries") == [other.id]
    assert not nothing_is_left_of(core, other)


def test_files_that_cannot_be_deleted_keep_only_their_own_prediction(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    core.limits = replace(core.limits, retention_hours=1.0)
    kept, gone = ended(core), ended(core)
    run(core, "UPDATE predictions SET completed_at = now() - interval '2 h'")
    delete = core.storage.delete

    def refuse_some(keys: Sequence[str]) -> None:
        if any(kept.id in key for key in keys):
            raise StorageFailed("This object is locked.")
        delete(keys)

    monkeypatch.setattr(core.storage, "delete", refuse_some)
    core.recovery().sweep()
    assert nothing_is_left_of(core, gone)
    assert now(core, kept).data_removed_at is None
    monkeypatch.undo()
    core.recovery().sweep()
    assert nothing_is_left_of(core, kept)


def test_webhooks_that_are_done_go_after_a_month_and_those_that_are_not_stay(core: Core) -> None:
    done, due, young = ended(core), ended(core), ended(core)
    run(
        core,
        f"UPDATE deliveries SET next_at = NULL, delivered_at = now() WHERE prediction_id IN ('{done.id}',"
        f" '{young.id}')",
    )
    run(
        core,
        f"UPDATE deliveries SET created_at = now() - interval '31 days' WHERE prediction_id != '{young.id}'",
    )
    core.recovery().sweep()
    assert set(run(core, "SELECT prediction_id FROM deliveries")) == {due.id, young.id}


def test_webhooks_that_cannot_be_removed_keep_nothing_else_from_going(core: Core) -> None:
    """As when there are so many that a statement is not allowed to take so long."""
    core.limits = replace(core.limits, retention_hours=1.0, audit_days=30)
    old, done = ended(core), ended(core)
    run(core, f"UPDATE predictions SET completed_at = now() - interval '2 h' WHERE id = '{old.id}'")
    run(core, "UPDATE deliveries SET next_at = NULL, created_at = now() - interval '31 days'")
    run(
        core,
        "INSERT INTO audit_log (at, action, username, target, address, request_id)"
        " VALUES (now() - interval '31 days', 'old', '', '', '', '')",
    )
    refusal = "BEGIN RAISE EXCEPTION 'takes too long' USING ERRCODE = 'query_canceled'; END"
    run(core, f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${refusal}$$")
    run(
        core,
        "CREATE TRIGGER refuse BEFORE DELETE ON deliveries FOR EACH ROW"
        f" WHEN (OLD.prediction_id = '{done.id}') EXECUTE FUNCTION refuse()",
    )
    try:
        core.recovery().sweep()
        assert run(core, "SELECT prediction_id FROM deliveries") == [done.id]
        assert run(core, "SELECT action FROM audit_log") == []
        assert nothing_is_left_of(core, old)
    finally:
        run(core, "DROP FUNCTION refuse CASCADE")


@pytest.mark.parametrize(("days", "left"), [(30, ["new"]), (0, ["new", "old"])])
def test_the_audit_log_goes_after_the_days_of_the_setting(core: Core, days: int, left: list[str]) -> None:
    core.limits = replace(core.limits, audit_days=days)
    for name, age in (("old", 31), ("new", 1)):
        run(
            core,
            "INSERT INTO audit_log (at, action, username, target, address, request_id) "
            f"VALUES (now() - interval '{age} days', '{name}', '', '', '', '')",
        )
    core.recovery().sweep()
    assert sorted(map(str, run(core, "SELECT action FROM audit_log"))) == left
