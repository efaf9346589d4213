"""A worker's parts in the test's own process, around a real engine, database and Redis."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app import composition_worker as composition
from app.broker.queue_lists import QueueLists
from app.composition import Core
from app.db.tables import ModelRow, UserRow, VersionRow
from app.engine.engine import Engine, EngineOptions
from app.runtimes import registry
from app.worker.inputs import Inputs
from app.worker.intake import Intake
from app.worker.model_files import ModelFiles
from app.worker.outputs import Outputs
from app.worker.recorder import Recorder
from app.worker.runner import Runner, RunOptions
from app.worker.version_cache import Versions

VERSION = "e" * 64


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    made = Engine(EngineOptions())
    made.start()
    yield made
    made.stop(0)


@pytest.fixture
def echo(core: Core) -> str:
    """A version of the runtime echo."""
    spec = next(spec for spec in registry.specs() if spec.name == "echo")
    with core.database.unit() as session:
        user = UserRow(email="a@b.test", username="ada", password_hash="x", webhook_secret="whsec_x")
        session.add(user)
        session.flush()
        model = ModelRow(owner_id=user.id, owner="ada", name="echo", visibility="public")
        session.add(model)
        session.flush()
        session.add(
            VersionRow(
                id=VERSION,
                model_id=model.id,
                source="none",
                runtime="echo",
                input_schema=spec.inputs[""],
                output_schema=spec.outputs[""],
                streams=True,
            )
        )
    return VERSION


@pytest.fixture
def parts(core: Core, settings: Any, engine: Engine, echo: str) -> Iterator[SimpleNamespace]:
    """Recorder, runner and intake as a worker has them, not started."""
    recorder = Recorder(core.lifecycle)
    place = RunOptions("cpu", 1, 60.0, frozenset())
    runner = Runner(
        engine,
        recorder,
        core.events,
        Versions(core.database),
        ModelFiles(composition.model_file_options(settings)),
        Inputs(core.storage, lambda _: None, 1_000_000, True),
        Outputs(core.storage),
        place,
    )
    intake = Intake(recorder, runner, QueueLists(core.redis, ["cpu"]), ["cpu"], 16)
    recorder.on_written = intake.on_capacity
    yield SimpleNamespace(core=core, recorder=recorder, runner=runner, intake=intake, version=echo)
    intake.stop()
    recorder.close(1)
    runner.close()
