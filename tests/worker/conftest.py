"""A worker's parts in the test's own process, around a real engine, database and Redis."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rpc_client import KEY

from app import composition_worker as composition
from app.broker import names
from app.broker.queue_lists import QueueLists
from app.composition_core import Core
from app.composition_rpc import build_rpc
from app.db.tables import ApiKeyRow, ModelRow, UserRow, VersionRow
from app.engine.devices import Device
from app.engine.engine import Engine, EngineOptions
from app.events.takeover import StreamTakeover
from app.outbound.addresses import AddressPolicy
from app.outbound.guarded_client import GuardedClient
from app.rpc.server import RpcServer
from app.runtimes import registry
from app.services.people.access import digest
from app.worker.ending_writer import EndingWriter
from app.worker.heartbeat import Post
from app.worker.identity import WorkerIdentity
from app.worker.inputs import Inputs
from app.worker.intake import Intake
from app.worker.long_inputs import LongInputs
from app.worker.model_files import ModelFiles
from app.worker.model_preload import ModelPreloader
from app.worker.outputs import Outputs
from app.worker.preparation import Preparation, RunOptions
from app.worker.runner import Runner
from app.worker.version_cache import Versions

VERSION = "e" * 64


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    started = Engine(EngineOptions())
    started.start()
    yield started
    started.stop(0)


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
    """What takes predictions through a worker, as a worker has it, not started."""
    identity, ending_writer = WorkerIdentity(), EndingWriter(core.lifecycle)
    options = RunOptions("cpu", 1, 60.0, frozenset(), development=True)
    preparation = Preparation(
        Versions(core.database),
        ModelFiles(composition.model_file_options(settings)),
        Inputs(core.storage, lambda _: None, 1_000_000, GuardedClient(AddressPolicy(allow_private=True))),
        LongInputs(core.database, core.storage),
        options,
    )
    takeover = StreamTakeover(core.redis)
    runner = Runner(
        engine,
        core.lifecycle,
        identity,
        ending_writer,
        core.events,
        takeover,
        preparation,
        Outputs(core.storage),
        options,
    )
    lists = QueueLists(core.redis, [names.celery_queue("cpu")])
    intake = Intake(core.lifecycle, identity, runner, lists, ["cpu"], 16)
    ending_writer.on_written = intake.on_capacity
    yield SimpleNamespace(
        takeover=takeover,
        core=core,
        engine=engine,
        identity=identity,
        ending_writer=ending_writer,
        preparation=preparation,
        runner=runner,
        in_flight=runner.in_flight,
        intake=intake,
        version=echo,
    )
    intake.stop()
    ending_writer.close(1)
    runner.close()


@pytest.fixture
def serve(parts: SimpleNamespace, settings: Any) -> Iterator[Callable[..., RpcServer]]:
    """Starts a worker's server in this process, with such settings; ada has a key."""
    with parts.core.database.unit() as session:
        user = session.query(UserRow).filter_by(username="ada").one()
        scopes = ["predict", "models"]
        session.add(ApiKeyRow(user_id=user.id, name="k", prefix="lov_", hash=digest(KEY), scopes=scopes))
    post = Post(Device("cpu"), "here", 64)
    parts.preloader = ModelPreloader(parts.core.database, parts.engine, parts.preparation, post.facts)
    parts.ending_writer.start()
    parts.secret = settings.secret_key
    servers = []

    def start(**values: Any) -> RpcServer:
        server = build_rpc(settings.model_copy(update=values), parts.core, post, parts)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()
    parts.preloader.close()
