"""What a worker keeps loaded without a prediction that needs it."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from waiting import eventually

from app.domain.routing import WorkerFacts
from app.engine.engine import Engine
from app.events.model_commands import LOAD, PIN, UNLOAD, UNPIN, ModelCommand
from app.worker.model_preload import ModelPreloader

ME = WorkerFacts("cpu", "h", 4, 0)


@pytest.fixture
def preloader(parts: SimpleNamespace, engine: Engine) -> Iterator[ModelPreloader]:
    made = ModelPreloader(parts.core.database, engine, parts.preparation, ME)
    engine.release(parts.version)
    eventually(lambda: parts.version not in engine.states())
    yield made
    engine.release(parts.version)
    made.close()


def configure(parts: SimpleNamespace, config: str) -> None:
    with parts.core.database.unit() as session:
        session.execute(text("UPDATE versions SET config = CAST(:config AS jsonb)"), {"config": config})


def test_commands_to_this_worker_are_carried_out_once_and_those_to_others_not(
    parts, preloader: ModelPreloader, engine: Engine
) -> None:
    preloader.on_command(ModelCommand(LOAD, parts.version, ("cuda:0@h",)))
    assert parts.version not in engine.states()
    for _ in range(3):
        preloader.on_command(ModelCommand(LOAD, parts.version, ("cuda:0@h", "cpu@h")))
    eventually(lambda: engine.is_ready(parts.version))
    preloader.on_command(ModelCommand(UNLOAD, parts.version, ("cuda:0@h",)))
    assert engine.is_ready(parts.version)
    preloader.on_command(ModelCommand(UNLOAD, parts.version, ("cpu@h",)))
    preloader.on_command(ModelCommand(UNLOAD, parts.version, ("cpu@h",)))
    eventually(lambda: parts.version not in engine.states())


def test_a_pinned_version_stays_loaded_when_it_is_unpinned(
    parts, preloader: ModelPreloader, engine: Engine
) -> None:
    preloader.on_command(ModelCommand(PIN, parts.version, ("cpu@h",)))
    eventually(lambda: state_of(engine, parts.version) == [("ready", True)])
    preloader.on_command(ModelCommand(UNPIN, parts.version, ("cpu@h",)))
    assert state_of(engine, parts.version) == [("ready", False)]


def state_of(engine: Engine, version: str) -> list[tuple[str, bool]]:
    """Others of this process's tests may have left versions loaded."""
    return [(each.state, each.pinned) for each in engine.models() if each.version == version]


@pytest.mark.parametrize(
    ("named", "config", "there"),
    [
        (["ada/echo"], "{}", True),
        (["e" * 64, "ada/echo"], "{}", True),
        (["ada/nothing", "nonsense", "0" * 64], "{}", False),
        ([], '{"prefetch": true}', True),
        ([], '{"prefetch": false}', False),
        (["ada/echo"], '{"prefetch": true, "device": "cuda"}', False),
    ],
)
def test_what_is_to_be_there_from_the_start_is_loaded_where_it_may_run(
    parts, preloader: ModelPreloader, engine: Engine, named: list[str], config: str, there: bool
) -> None:
    configure(parts, config)
    preloader.load_all(named)
    assert bool(preloader._loading or parts.version in engine.states()) is there
    if there:
        eventually(lambda: engine.is_ready(parts.version))


def test_a_version_that_is_gone_is_no_bodys_fault(parts, preloader: ModelPreloader) -> None:
    preloader.load("f" * 64)
    eventually(lambda: not preloader._loading)
