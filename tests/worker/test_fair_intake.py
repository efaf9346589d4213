"""A flood of a heavy model leaves a worker free for light ones: it takes two batches' worth of a version and
no more."""

import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from accepting import accept, all_ended, row, rows
from hypothesis import given
from hypothesis import strategies as st
from waiting import eventually

from app.db.tables import ModelRow, VersionRow
from app.domain.work import ModelSpec
from app.engine.engine import Engine
from app.services.predictions.lifecycle import Lifecycle
from app.worker import intake
from app.worker.deferred import DeferredIds

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


@given(
    st.lists(st.dictionaries(st.integers(0, 50).map(str), st.sampled_from("ab"), max_size=9), max_size=9),
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("ab"), st.integers(0, 5)), st.integers(0, 9)), max_size=9
    ),
)
def test_what_is_deferred_is_popped_once_in_order_and_within_the_capacity(
    added: list[dict[str, str]], takes: list[Any]
) -> None:
    deferred = DeferredIds(most=30)
    versions: dict[str, str] = {}
    for group, left in enumerate(added):
        named = {f"{group}-{one}": version for one, version in left.items()}
        deferred.add(named)
        versions.update(named)
    total, seen = deferred.count, []
    assert total == min(30, len(versions))
    for capacity, most in takes:
        taken = deferred.pop(capacity, most)
        assert len(taken) <= most
        counts = Counter(versions[one] for one in taken)
        assert all(counts[version] <= capacity.get(version, most) for version in counts)
        seen += taken
    assert len(set(seen)) == len(seen)
    assert deferred.count == total - len(seen)
    rest = deferred.pop({}, 100)
    assert len(rest) == total - len(seen)
    assert not deferred.has_capacity({})
