"""What the README guarantees, word for word, each part with a check that shows it. A guarantee without a
row fails, and so does a row that the README has no more.

Each is small here; docs/reliability.md says where the same is tested with faults under load.
"""

import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import psycopg2
import pytest
import redis
from dripping import dripping
from moving import accepted, claim, claimed, ending, living_worker, now
from waiting import eventually

from app.broker import names
from app.composition_core import Core
from app.db import deliveries, runtimes
from app.domain.predictions import TERMINAL, Prediction, Status
from app.domain.work import END, Event, Finished, ModelSpec, Work
from app.engine.deadlines import Timeouts
from app.engine.engine import Engine, EngineOptions
from app.main import create_app
from app.outbound.addresses import AddressPolicy
from app.outbound.webhook_sender import Sender
from app.runtimes import registry
from app.settings import Settings
from app.worker.courier import Courier, platform_secret

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "local"))
from launching import Launchers, processes_of  # noqa: E402 - it lies beside the tests of `lovage up`

HOUR = 3_600


@dataclass(frozen=True)
class Stage:
    """What the checks need."""

    core: Core
    settings: Settings
    folder: Path


# A prediction's life


async def is_committed_when_answered(stage: Stage) -> None:
    app = create_app(stage.settings)
    with stage.core.database.unit() as session:
        runtimes.put(session, {spec.name: asdict(spec) for spec in registry.specs() if spec.name == "echo"})
    async with app.router.lifespan_context(app) as state:
        people = state["services"].people
        user = people.accounts.create("ada@x.io", "ada", "correct horse battery")
        key = people.keys.issue(user.id, "k", ["predict", "models"]).secret
        calls = httpx.AsyncClient(
            transport=httpx.ASGITransport(lambda scope, *ends: app({**scope, "state": state}, *ends)),
            base_url="http://lovage.test",
            headers={"Authorization": f"Bearer {key}"},
        )
        async with calls:
            model = {"name": "m", "version": {"runtime": "echo"}}
            assert (await calls.post("/v1/models", json=model)).status_code == 201
            answer = await calls.post("/v1/predictions", json={"version": "ada/m", "input": {}})
            assert answer.status_code == 201, answer.text
            assert status_in_postgres(stage, answer.json()["id"]) == "starting"


def status_in_postgres(stage: Stage, prediction_id: str) -> str:
    """As another connection sees it."""
    with psycopg2.connect(stage.settings.database_url.replace("+psycopg2", "")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT status FROM predictions WHERE id = %s", (prediction_id,))
        row = cursor.fetchone()
    connection.close()
    assert row is not None
    return str(row[0])


async def ends_exactly_once(stage: Stage) -> None:
    core, ends = stage.core, [Status.SUCCEEDED, Status.FAILED, Status.CANCELED]
    assert set(ends) == TERMINAL
    worker = living_worker(core)
    for first in ends:
        prediction = claimed(core, worker)
        assert core.lifecycle.finish([ending(prediction, first)])[0] is not None
        assert core.lifecycle.finish([ending(prediction, other) for other in ends]) == [None] * 3
        core.lifecycle.cancel([prediction.id])
        assert now(core, prediction).status is first


# Redis


def lose_redis(core: Core) -> Prediction:
    """One prediction waits, and the message about it was lost with all else."""
    core.redis.flushall()
    waiting = accepted(core)
    eventually(lambda: core.redis.llen(names.queue_key("cpu")) == 1)
    core.redis.flushall()
    return waiting


async def workers_claim_from_postgres_without_redis(stage: Stage) -> None:
    core, worker = stage.core, living_worker(stage.core)
    waiting = lose_redis(core)
    claimed_now = core.lifecycle.claim(
        [each.id for each in core.lifecycle.list_next(["cpu"], 10)], worker, {}
    ).predictions
    assert [prediction.id for prediction in claimed_now] == [waiting.id]


async def the_sweep_publishes_again(stage: Stage) -> None:
    core = stage.core
    lose_redis(core)
    core.recovery().sweep()
    eventually(lambda: core.redis.llen(names.queue_key("cpu")) == 1)


# Workers that die


def die(core: Core) -> None:
    """Every worker has been silent for a minute, and the sweep sees it."""
    with core.database.unit() as session:
        session.connection().exec_driver_sql("UPDATE workers SET seen_at = now() - interval '1 min'")
    assert core.recovery().recover_dead() == 1


async def a_dead_workers_prediction_is_retried(stage: Stage) -> None:
    core = stage.core
    first = claimed(core, living_worker(core))
    die(core)
    assert now(core, first).status is Status.STARTING
    [second] = claim(core, living_worker(core), first.id)
    core.lifecycle.finish([ending(second)])
    assert now(core, first).status is Status.SUCCEEDED


async def a_late_result_changes_nothing(stage: Stage) -> None:
    core = stage.core
    first = claimed(core, living_worker(core))
    die(core)
    assert core.lifecycle.finish([ending(first, output="late")]) == [None]
    [second] = claim(core, living_worker(core), first.id)
    assert core.lifecycle.finish([ending(first, output="late")]) == [None]
    core.lifecycle.finish([ending(second, output="right")])
    assert core.lifecycle.finish([ending(first, output="late")]) == [None]
    assert now(core, first).output == "right"


async def three_deaths_fail_it(stage: Stage) -> None:
    core = stage.core
    waiting = accepted(core)
    for deaths in (1, 2, 3):
        with core.database.unit() as session:
            session.connection().exec_driver_sql("UPDATE predictions SET run_after = now()")
        assert claim(core, living_worker(core), waiting.id)
        die(core)
        assert now(core, waiting).status is (Status.FAILED if deaths == 3 else Status.STARTING)
    assert now(core, waiting).error_code == "worker_crashed"


# Model processes that die


def outcomes(engine: Engine, do: str) -> list[Event]:
    """Of eight inputs at once, of which the fourth does harm."""
    model = ModelSpec(f"version-{do}", "test/trial", "trial", development=True)
    queues: list[SimpleQueue[Event]] = [SimpleQueue() for _ in range(8)]
    inputs = [{"do": do if number == 3 else "", "text": str(number)} for number in range(8)]
    works = [
        Work(f"{do}-{number}", values, timeout=1.0 if values["do"] else 100.0)
        for number, values in enumerate(inputs)
    ]
    engine.submit_all(model, [(work, queue.put) for work, queue in zip(works, queues, strict=True)])
    return [next(event for event in iter(queue.get, None) if isinstance(event, END)) for queue in queues]


async def a_poison_input_fails_alone(stage: Stage) -> None:
    """What the kernel does to a process that has taken all memory is a SIGKILL, too."""
    folder = str(ROOT / "tests" / "engine" / "runtimes")
    quick = Timeouts(setup=10.0, cancel=0.3, stall=1.0, evict=1.0)
    engine = Engine(EngineOptions(runtime_folders=(folder,), timeouts=quick))
    engine.start()
    try:
        for do in ("crash", "hang"):
            ends = outcomes(engine, do)
            assert not isinstance(ends.pop(3), Finished), do
            assert [end.output for end in ends if isinstance(end, Finished)] == list("0124567"), do
    finally:
        engine.stop(0)


# Webhooks


class Receiver:
    """Answers 500 first, then 200."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.ids.append(self.headers["webhook-id"])
                self.send_response(500 if len(outer.ids) == 1 else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def end_with_webhook(core: Core, url: str) -> Prediction:
    prediction = claimed(core, living_worker(core), webhook=url, webhook_events=["completed"])
    core.lifecycle.finish([ending(prediction)])
    return prediction


async def a_webhook_is_delivered_with_a_stable_id(stage: Stage) -> None:
    receiver = Receiver()
    sender = Sender(policy=AddressPolicy(allow_private=True), seconds=5.0, connections=4, user_agent="test")
    courier = Courier(stage.core.database, sender, platform_secret("secret"), 4, schedule=[0.05, 0.05])
    courier.start()
    try:
        prediction = end_with_webhook(stage.core, receiver.url)
        eventually(lambda: courier.on_message("") or len(receiver.ids) == 2)
        assert len(set(receiver.ids)) == 1
        assert prediction.id in receiver.ids[0]
    finally:
        courier.close()
        sender.close()
        receiver.server.shutdown()
        receiver.server.server_close()


async def tries_last_about_a_day(stage: Stage) -> None:
    assert 20 * HOUR < sum(stage.settings.webhook_schedule) < 32 * HOUR


async def no_prediction_waits_for_a_receiver(stage: Stage) -> None:
    """Its end is recorded with the webhook's row while the receiver drips."""
    with dripping(b"HTTP/1.1 200 OK\r\n", b"x: 1\r\n") as url:
        began = time.monotonic()
        prediction = end_with_webhook(stage.core, url)
        assert now(stage.core, prediction).status is Status.SUCCEEDED
        assert time.monotonic() - began < 2
    with stage.core.database.unit() as session:
        [delivery] = deliveries.by_prediction(session, prediction.id, cursor=None, limit=10).results
    assert (delivery.status, delivery.tries) == ("pending", 0)


# kill -9


async def nothing_is_left_or_lost_after_kill_9(stage: Stage) -> None:
    """Of the launcher of the servers, amid a committed row; what `lovage up` runs beside them ends by the
    same means (tests/local), and with 50 predictions under way (tests/end_to_end)."""
    launchers, folder = Launchers(), stage.folder / "data"
    try:
        for rows in (1, 2):
            launcher = launchers.servers(folder)
            assert launcher.stdout is not None
            database_url, redis_url = launcher.stdout.readline().split()
            with psycopg2.connect(database_url.replace("+psycopg2", "")) as connection:
                cursor = connection.cursor()
                cursor.execute("CREATE TABLE IF NOT EXISTS kept (n serial); INSERT INTO kept DEFAULT VALUES")
                cursor.execute("SELECT count(*) FROM kept")
                assert cursor.fetchone() == (rows,)
            connection.close()
            with redis.Redis.from_url(redis_url) as client:
                assert client.ping()
            launcher.send_signal(signal.SIGKILL)
            eventually(lambda: not processes_of(folder))
    finally:
        for launcher in launchers.started:
            launcher.kill()
            launcher.wait()
            if launcher.stdout is not None:
                launcher.stdout.close()


Check = Callable[[Stage], Awaitable[None]]
# The sentences of one guarantee in their order, each with what shows it; together they are the README's text.
GUARANTEES: tuple[tuple[tuple[str, Check], ...], ...] = (
    (
        ("A prediction that was answered 2xx is committed in Postgres ", is_committed_when_answered),
        ("and reaches exactly one of `succeeded`, `failed`, `canceled`.", ends_exactly_once),
    ),
    (
        (
            "Redis may be lost entirely: workers claim waiting rows from Postgres, ",
            workers_claim_from_postgres_without_redis,
        ),
        ("and the sweep publishes again.", the_sweep_publishes_again),
    ),
    (
        ("A dead worker's predictions are retried; ", a_dead_workers_prediction_is_retried),
        ("a late result of an old attempt changes nothing. ", a_late_result_changes_nothing),
        ("Three deaths end it as `failed`.", three_deaths_fail_it),
    ),
    (
        (
            "A model process that crashes, hangs or runs out of memory costs its batch a retry, never the"
            " worker; a poison input fails alone.",
            a_poison_input_fails_alone,
        ),
    ),
    (
        ("A webhook is delivered at least once with a stable id, ", a_webhook_is_delivered_with_a_stable_id),
        ("retried for about a day, ", tries_last_about_a_day),
        ("and never delays a prediction.", no_prediction_waits_for_a_receiver),
    ),
    (
        (
            "`kill -9` of any part, or of `lovage up` itself, leaves no process behind and loses nothing; the"
            " next `up` goes on.",
            nothing_is_left_or_lost_after_kill_9,
        ),
    ),
)


def promised() -> Iterator[str]:
    """The guarantees as the README words them."""
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.partition("## What it guarantees\n")[2].partition("\n## ")[0]
    for item in re.findall(r"^- (.*(?:\n  .*)*)", section, re.M):
        yield " ".join(item.split())


def test_every_guarantee_of_the_readme_has_its_row_and_every_row_is_a_guarantee() -> None:
    shown = ["".join(words for words, _ in guarantee) for guarantee in GUARANTEES]
    assert shown == list(promised())


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=words.strip()) for guarantee in GUARANTEES for words, check in guarantee],
)
async def test_it_holds(check: Check, core: Core, settings: Settings, tmp_path: Path) -> None:
    await check(Stage(core, settings, tmp_path))
