"""What a worker holds of long inputs, and who may have it."""

from typing import Any
from uuid import UUID, uuid4

from accepting import all_ended
from prediction_rows import row
from waiting import eventually

from app.worker.input_budget import InputBudget
from app.worker.run import Fence

ADA, BOB = uuid4(), uuid4()


def fence(number: int) -> Fence:
    return f"p{number}", 1, UUID(int=1)


def test_users_share_and_whoever_holds_nothing_may_have_all_that_is_free() -> None:
    budget = InputBudget(100)
    ada = [budget.hold(fence(number), ADA, 20) for number in range(5)]
    assert [turn.done() for turn in ada] == [True, True, False, False, False], "as much as is free beside"
    bob = [budget.hold(fence(5), BOB, 60), budget.hold(fence(6), BOB, 1)]
    assert [turn.done() for turn in bob] == [True, False]
    assert budget.hold(fence(7), None, 0).done(), "what is short waits for nobody"
    ada[2].cancel()
    for number in (5, 0, 0, 1):
        budget.release(fence(number))
    assert all(turn.done() for turn in (*ada, *bob))
    larger = budget.hold(fence(8), BOB, 500)
    for number in (3, 4, 6):
        assert not larger.done(), "it has all of it, or waits"
        budget.release(fence(number))
    assert larger.done()


def test_long_inputs_run_a_few_at_once_and_all_of_them(parts: Any, monkeypatch: Any) -> None:
    budget = parts.runner._preparer._budget
    monkeypatch.setattr(budget, "_limit", 200_000)
    most: list[int] = []
    hold = budget.hold
    monkeypatch.setattr(budget, "hold", lambda *args: (hold(*args), most.append(len(budget._held)))[0])
    parts.ending_writer.start()
    parts.intake.start()
    values = {"text": "x" * 60_000, "seconds": 0.05}
    rows = [row(version_id=parts.version, input=values, input_bytes=60_030) for _ in range(8)]
    ids = list(parts.core.lifecycle.accept(rows))
    parts.intake.on_message(ids[0])
    eventually(all_ended(parts, ids))
    assert max(most) == 1, "60 kB each, and no more than is free beside"
    assert (budget._held, budget._waiting) == ({}, [])
