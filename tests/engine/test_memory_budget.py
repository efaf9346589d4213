"""The loop around the eviction plan: who is evicted, held and let go again, and when a load goes over the
budget."""

import threading

import pytest

from app.domain.errors import ModelUnavailable
from app.engine import model_cache
from app.engine.memory_budget import MemoryBudget
from app.engine.model_cache import Resident
from app.engine.model_states import Loading


class Model:
    """A model that is busy until it was held for so many looks."""

    def __init__(self, version: str, busy_looks: int = 0, *, pinned: bool = False) -> None:
        self.version = version
        self._busy_looks, self._pinned = busy_looks, pinned
        self.held: list[bool] = []
        self.gone = False

    def resident(self) -> Resident | None:
        held = bool(self.held and self.held[-1])
        self._busy_looks -= held
        in_use = self._busy_looks > 0
        if self.gone:
            return None
        return Resident(self.version, 60, 1.0, in_use=in_use, pinned=self._pinned, ready_at=1.0, held=held)

    def hold(self, held: bool) -> None:
        self.held.append(held)

    def evict(self, grace: float) -> bool:
        self.gone = True
        return True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "HOLD_SECONDS", 0.05)
    monkeypatch.setattr(model_cache, "WAIT_SECONDS", 0.5)


def budget(*models: Model, free: int = 1000) -> MemoryBudget:
    return MemoryBudget(100, lambda: free, 1.0, lambda: models, threading.Event())


def test_what_is_idle_makes_way_and_the_memory_is_reserved() -> None:
    idle, loading = Model("idle"), Loading()
    budget(idle).reserve("new", 60, loading)
    assert idle.gone
    assert loading.bytes == 60


def test_what_is_idle_makes_way_for_what_others_have_reserved() -> None:
    idle, busy, reserved = Model("idle"), Model("busy", busy_looks=9), [0]
    models = MemoryBudget(
        130, lambda: 1000, 1.0, lambda: (idle, busy), threading.Event(), lambda: reserved[0]
    )
    models.make_room()
    assert (models.total_bytes, idle.gone) == (130, False)
    reserved[0] = 70
    models.make_room()
    assert (models.total_bytes, idle.gone, busy.gone) == (60, True, False)


def test_a_busy_model_is_held_until_it_can_be_evicted() -> None:
    busy = Model("busy", busy_looks=3)
    budget(busy).reserve("new", 60, Loading())
    assert busy.held == [True]
    assert busy.gone


def test_a_held_model_is_let_go_when_the_load_goes_ahead_without_it() -> None:
    busy, loading = Model("busy", busy_looks=1000), Loading()
    budget(busy).reserve("new", 60, loading)
    assert busy.held == [True, False]
    assert not busy.gone
    assert loading.bytes == 60


def test_a_load_is_refused_when_the_memory_is_not_there_either() -> None:
    busy, loading = Model("busy", busy_looks=1000), Loading()
    with pytest.raises(ModelUnavailable, match="there is no room: it needs about 60 bytes"):
        budget(busy, free=59).reserve("new", 60, loading)
    assert busy.held == [True, False]
    assert loading.bytes == 0


def test_beside_pinned_models_a_load_begins_at_once() -> None:
    pinned = Model("pinned", pinned=True)
    budget(pinned, free=0).reserve("new", 60, Loading())
    assert not pinned.gone


def test_a_model_that_turns_out_larger_than_expected_evicts_what_is_idle() -> None:
    idle, busy = Model("idle"), Model("busy", busy_looks=1000)
    budget(idle, busy).fit("new", 70)
    assert idle.gone
    assert not busy.gone
