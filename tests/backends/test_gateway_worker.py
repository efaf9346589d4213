"""From an accepted prediction to its recorded end through a gateway worker's parts, over a real database."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import prediction_rows
import pytest
from fake_upstream import FakeUpstream
from waiting import eventually

from app import composition_worker as composition
from app.backends import tasks
from app.backends.credentials import CredentialSealer
from app.composition_core import Core
from app.db import backends as table
from app.db import predictions
from app.db.tables import ModelRow, UserRow, VersionRow
from app.domain import queue_names
from app.domain.backends import NewBackend
from app.domain.predictions import Prediction
from app.domain.routing import Situation, WorkerFacts, choose
from app.domain.versions import Placement
from app.engine.devices import Device
from app.worker.gateway.gateway_engine import GatewayEngine
from app.worker.heartbeat import Post

Start = Callable[..., FakeUpstream]
VERSION = "b" * 64


def add_backend(core: Core, upstream: FakeUpstream, settings: Any, name: str = "gpu", key: str = "") -> None:
    sealed = CredentialSealer(settings.secret_key).seal(key) if key else None
    new = NewBackend(
        id=uuid4(), name=name, kind="openai", url=upstream.url, credential=sealed, silence_seconds=5.0
    )
    with core.database.unit() as session:
        table.add(session, new)


def add_version(core: Core) -> None:
    with core.database.unit() as session:
        user = UserRow(email="a@b.test", username="ada", password_hash="x", webhook_secret="whsec_x")
        session.add(user)
        session.flush()
        model = ModelRow(owner_id=user.id, owner="ada", name="chat", visibility="public")
        session.add(model)
        session.flush()
        session.add(
            VersionRow(
                id=VERSION,
                model_id=model.id,
                source="backend:gpu/tiny-chat",
                runtime="backend",
                task="text-generation",
                config={"backends": [{"name": "gpu", "model": "tiny-chat"}]},
                input_schema=tasks.INPUTS["text-generation"],
                output_schema=tasks.OUTPUTS["text-generation"],
                streams=True,
            )
        )


@pytest.fixture
def gateway(core: Core, settings: Any) -> Iterator[Callable[[], SimpleNamespace]]:
    """Starts a gateway worker's parts."""
    running: list[Any] = []

    def start() -> SimpleNamespace:
        add_version(core)
        post = Post(Device(queue_names.BACKENDS), "here", 100)
        engine, identity = composition.open_gateway_engine(settings, core)
        parts = composition.build_parts(settings, core, post, engine, identity)
        composition.connect(parts, SimpleNamespace(on_claimed=lambda _: None, on_ended=lambda *_: None))  # type: ignore[arg-type]
        parts.heartbeat.register()
        for part in (engine, parts.ending_writer, parts.intake):
            part.start()
        running.append(parts)
        return SimpleNamespace(parts=parts, core=core, engine=engine)

    yield start
    for parts in running:
        parts.intake.stop()
        parts.engine.stop(0)
        parts.ending_writer.close(1)
        parts.runner.close()


def accept(core: Core, count: int = 1) -> list[str]:
    new = [
        prediction_rows.row(version_id=VERSION, model="ada/chat", queue="backends", input={"prompt": "x"})
        for _ in range(count)
    ]
    return list(core.lifecycle.accept(new))


def read(core: Core, ids: list[str]) -> list[Prediction]:
    with core.database.unit() as session:
        rows = predictions.get(session, ids)
    return [rows[prediction_id] for prediction_id in ids]


def ended(core: Core, ids: list[str]) -> Callable[[], bool]:
    return lambda: all(prediction.ended for prediction in read(core, ids))


def test_a_prediction_runs_at_a_backend_with_its_credential(
    gateway: Callable[[], SimpleNamespace], start_upstream: Start, settings: Any
) -> None:
    started = gateway()
    add_backend(started.core, start_upstream(key="sk-1"), settings, key="sk-1")
    ids = accept(started.core, 20)
    eventually(ended(started.core, ids))
    assert {str(prediction.status) for prediction in read(started.core, ids)} == {"succeeded"}
    prediction = read(started.core, ids)[0]
    assert prediction.output == ["Hello", " there", "!"]
    assert prediction.metrics["backend"] == "gpu"
    assert prediction.metrics["device"] == queue_names.BACKENDS


def test_what_a_backend_does_is_written_down(
    gateway: Callable[[], SimpleNamespace], start_upstream: Start, settings: Any
) -> None:
    started = gateway()
    add_backend(started.core, start_upstream(), settings)

    def state() -> str:
        with started.core.database.unit() as session:
            reports = table.reports(session, 60)
        return next((report.state for each in reports.values() for report in each), "")

    eventually(lambda: state() == "healthy", 10)


def test_what_a_dead_gateway_had_runs_at_the_next_one(
    gateway: Callable[[], SimpleNamespace], start_upstream: Start, settings: Any, core: Core
) -> None:
    upstream = start_upstream(seconds=0.5)
    first = gateway()
    add_backend(core, upstream, settings)
    ids = accept(core, 5)
    eventually(lambda: upstream.running == 5)
    engine: GatewayEngine = first.engine
    first.parts.intake.stop()
    first.parts.runner.draining = True
    engine.stop(0)
    core.lifecycle.hand_back_all(first.parts.identity.id)
    post = Post(Device(queue_names.BACKENDS), "there", 100)
    second, identity = composition.open_gateway_engine(settings, core)
    parts = composition.build_parts(settings, core, post, second, identity)
    parts.ending_writer.on_written = parts.intake.on_capacity
    parts.heartbeat.register()
    for part in (second, parts.ending_writer, parts.intake):
        part.start()
    try:
        eventually(ended(core, ids))
        assert {str(prediction.status) for prediction in read(core, ids)} == {"succeeded"}
        assert {prediction.attempt for prediction in read(core, ids)} == {2}
    finally:
        parts.intake.stop()
        second.stop(0)
        parts.ending_writer.close(1)
        parts.runner.close()


def test_a_device_gets_nothing_of_a_backends_version_and_a_gateway_nothing_else() -> None:
    gateway = WorkerFacts("backends", "here", 1000, 0)
    device = WorkerFacts("cpu", "here", 16, 0, memory_bytes=10**9)
    there = Placement.from_config({"backends": [{"name": "gpu", "model": "m"}]})
    assert choose(Situation("v", there, [device, gateway])).queue == "backends"
    assert choose(Situation("v", there, [device])).queue == "backends", "it waits for one"
    assert choose(Situation("v", Placement.from_config({}), [gateway])).queue == "any"
    assert choose(Situation("v", Placement.from_config({}), [gateway, device])).queue == "cpu"
    assert queue_names.queues_of("backends", "here") == ["backends@here", "backends"]
    assert queue_names.is_queue("backends@here")
    assert not queue_names.is_device("backends")


def test_a_gateway_gives_way_within_a_moment(
    gateway: Callable[[], SimpleNamespace], start_upstream: Start, settings: Any, core: Core
) -> None:
    upstream = start_upstream(seconds=20)
    started = gateway()
    add_backend(core, upstream, settings)
    [prediction_id] = accept(core)
    eventually(lambda: upstream.running == 1)
    began = time.monotonic()
    started.parts.runner.in_flight.cancel([prediction_id])
    eventually(ended(core, [prediction_id]), 5)
    assert time.monotonic() - began < 2
    assert str(read(core, [prediction_id])[0].status) == "canceled"
    eventually(lambda: upstream.canceled == 1)
