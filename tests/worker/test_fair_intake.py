"""A flood of a heavy model leaves a worker free for light ones: it takes two batches' worth of a version and
no more."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from accepting import accept, all_ended, row, rows
from waiting import eventually

from app.db.tables import ModelRow, VersionRow
from app.domain.work import ModelSpec
from app.engine.engine import Engine
from app.services.predictions.lifecycle import Lifecycle
from app.worker import intake

HEAVY = "a" * 64


@pytest.fixture
def heavy(parts: SimpleNamespace, engine: Engine) -> str:
    """A loaded version that runs two at once."""
    with parts.core.database.unit() as session:
        light = session.get(VersionRow, parts.version)
        assert light is not None
        model = ModelRow(
            owner_id=session.get(ModelRow, light.model_id).owner_id,
            owner="ada",
            name="heavy",
            visibility="public",
        )
        session.add(model)
        session.flush()
        values = {
            name: getattr(light, name)
            for name in ("source", "runtime", "input_schema", "output_schema", "streams")
        }
        session.add(VersionRow(id=HEAVY, model_id=model.id, config={"max_batch_size": 2}, **values))
    engine.load(fetched(parts, HEAVY))
    engine.load(fetched(parts, parts.version))
    return HEAVY


def accept_heavy(lifecycle: Lifecycle, count: int, seconds: float) -> list[str]:
    return list(lifecycle.accept([row(HEAVY, text="h", seconds=seconds) for _ in range(count)]))


def fetched(parts: SimpleNamespace, version: str) -> ModelSpec:
    return parts.preparation.fetch(version, lambda line: None).result().spec


def held(parts: SimpleNamespace) -> Counter[str]:
    return Counter(run.prediction.version_id for run in parts.in_flight.list_all())


@pytest.mark.parametrize("messages", [True, False])
def test_light_predictions_pass_a_flood_of_heavy_ones(
    parts: SimpleNamespace, heavy: str, settings: Any, messages: bool
) -> None:
    flood = accept_heavy(parts.core.lifecycle, 20, 1.0)
    light = accept(parts, *({"text": str(n)} for n in range(20)))
    if not messages:
        parts.intake._lists.pop(1_000)
    parts.ending_writer.start()
    parts.intake.start()
    if messages:
        parts.intake.on_message(flood[0])
    most = 0

    def light_ended() -> bool:
        nonlocal most
        most = max(most, held(parts)[heavy])
        return all_ended(parts, light)()

    eventually(light_ended)
    assert not all_ended(parts, flood)()
    assert 1 <= most <= 4
    eventually(lambda: sum(one.ended for one in rows(parts, flood)) > 4)  # what was deferred has its turn
    parts.core.lifecycle.cancel(flood)
    parts.in_flight.cancel(flood)
    eventually(all_ended(parts, flood))


def test_slow_claims_are_made_in_groups(parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that takes longer than the rest after which a message counts as a lone one."""
    claims, claim = [], parts.core.lifecycle.claim

    def slow(ids: list[str], *more: Any) -> Any:
        time.sleep(4 * intake.LONE_SECONDS)
        claims.append(len(ids))
        return claim(ids, *more)

    monkeypatch.setattr(parts.core.lifecycle, "claim", slow)
    monkeypatch.setattr(intake, "LISTEN_FOR_SECONDS", 10)
    parts.ending_writer.start()
    parts.intake.start()
    first = accept(parts, {"text": "x"})
    parts.intake.on_message(first[0])
    eventually(all_ended(parts, first))  # from here on it waits for messages itself
    ids = accept(parts, *({"text": str(n)} for n in range(48)))
    eventually(all_ended(parts, ids))
    assert len(claims) < 24, claims


@pytest.mark.alone
def test_a_lone_version_still_fills_the_worker(parts: SimpleNamespace) -> None:
    ids = accept(parts, *({"text": "x", "seconds": 0.3} for _ in range(32)))
    parts.ending_writer.start()
    parts.intake.start()
    parts.intake.on_message(ids[0])
    began = time.monotonic()
    eventually(lambda: held(parts)[parts.version] == 16)
    eventually(all_ended(parts, ids))
    assert time.monotonic() - began < 15


def test_one_prediction_behind_another_users_flood_does_not_wait_for_it(
    parts: SimpleNamespace, heavy: str
) -> None:
    flooding, other = str(uuid4()), str(uuid4())
    flood = list(
        parts.core.lifecycle.accept(
            [row(heavy, text="a", seconds=0.2) | {"user_id": flooding} for _ in range(60)]
        )
    )
    parts.ending_writer.start()
    parts.intake.start()
    parts.intake.on_message(flood[0])
    eventually(lambda: held(parts)[heavy] >= 4)
    [mine] = parts.core.lifecycle.accept([row(heavy, text="b") | {"user_id": other}])
    eventually(all_ended(parts, [mine]))
    before = sum(one.ended for one in rows(parts, flood))
    assert before < 30, f"{before} of the flood went first"
    parts.core.lifecycle.cancel(flood)
    parts.in_flight.cancel(flood)
    eventually(all_ended(parts, flood))
