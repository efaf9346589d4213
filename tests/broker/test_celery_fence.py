"""Every internal of Celery and kombu that `app/broker` touches, seen from outside: an upgrade that breaks one
breaks a test here.

docs/architecture/celery.md lists them.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.worker import state
from waiting import eventually

from app import redis_client
from app.broker import consumer, messages, names
from app.broker.celery_app import make_celery
from app.broker.queue_lists import QueueLists
from app.broker.task_events import TaskEvents
from app.domain.deliveries import DeliveryResult, DueDelivery
from app.domain.predictions import Prediction, Status

IDS = [f"01m7y0v4xwhr4p32e26y5vzze{letter}" for letter in "abcdefgh"]
QUEUE = "cpu"


class Sink:
    """Takes what Celery hands over; reads nothing itself."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.threads: set[str] = set()
        self.is_reading = False
        self.on_idle: Callable[[], None] = lambda: None

    def on_message(self, message_id: str, /) -> None:
        self.ids.append(message_id)
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def broker(servers) -> redis.Redis:
    client = redis.Redis.from_url(servers.redis_url)
    client.flushall()
    return client


@pytest.fixture
def sink() -> Sink:
    return Sink()


@contextmanager
def consuming(servers: Any, sink: Sink) -> Iterator[Celery]:
    celery = make_celery(servers.redis_url)
    consumer.attach(celery, names.TASK_PREDICT, sink, [QUEUE])
    with start_worker(
        celery, pool="threads", concurrency=1, queues=[QUEUE], perform_ping_check=False, shutdown_timeout=20
    ):
        yield celery


def put(broker: redis.Redis, *ids: str) -> None:
    for prediction_id in ids:
        broker.lpush(names.list_key(QUEUE), messages.about(names.TASK_PREDICT, prediction_id, QUEUE))


def test_a_message_reaches_the_sink_on_celerys_own_thread(broker: redis.Redis, servers, sink: Sink) -> None:
    """`Task.Strategy`: a thread of the pool would be held for each message."""
    with consuming(servers, sink):
        put(broker, *IDS)
        eventually(lambda: len(sink.ids) == len(IDS))
    assert sink.ids == IDS
    assert not [name for name in sink.threads if "ThreadPoolExecutor" in name]


def test_celery_itself_publishes_what_the_sink_understands(broker: redis.Redis, servers, sink: Sink) -> None:
    """The message's `headers["id"]`."""
    with consuming(servers, sink) as celery:
        celery.send_task(names.TASK_PREDICT, args=[IDS[0]], task_id=IDS[0], queue=QUEUE)
        eventually(lambda: sink.ids == IDS[:1])


def test_celery_leaves_messages_in_redis_while_the_sink_reads_and_goes_on_when_woken(
    broker: redis.Redis, servers, sink: Sink
) -> None:
    """The consumer step, `qos.can_consume` and `hub.add_reader`. A BRPOP that had begun before takes one."""
    with consuming(servers, sink):
        put(broker, IDS[0])
        eventually(lambda: sink.ids == IDS[:1])
        sink.is_reading = True
        put(broker, *IDS[1:])
        time.sleep(1.5)
        assert len(sink.ids) <= 2
        assert broker.llen(names.list_key(QUEUE)) >= len(IDS) - 2
        sink.is_reading = False
        began = time.monotonic()
        sink.on_idle()
        eventually(lambda: sink.ids == IDS)
        assert time.monotonic() - began < 5


def test_a_message_is_gone_when_it_is_read_and_all_keys_are_ours(
    broker: redis.Redis, servers, sink: Sink
) -> None:
    """`no_ack` queues: no hash of unacknowledged messages. `global_keyprefix`: a Redis may be shared."""
    with consuming(servers, sink):
        put(broker, *IDS)
        eventually(lambda: len(sink.ids) == len(IDS))
        keys = {key.decode() for key in broker.keys("*")}
    assert not [key for key in keys if "unacked" in key]
    assert not [key for key in keys if not key.startswith(names.KEY_PREFIX)]


def test_what_celery_publishes_is_read_from_the_same_lists(broker: redis.Redis, servers) -> None:
    """kombu's lists: one for each queue, the oldest message at its right end."""
    celery = make_celery(servers.redis_url)
    for prediction_id in IDS:
        celery.send_task(names.TASK_PREDICT, args=[prediction_id], task_id=prediction_id, queue=QUEUE)
    lists = QueueLists(redis_client.connect(servers.redis_url), [QUEUE])
    assert lists.wait(1.0) == IDS[:1]
    assert lists.pop(100) == IDS[1:]
    assert broker.llen(names.list_key(QUEUE)) == 0


def prediction() -> Prediction:
    now = datetime.now(UTC)
    return Prediction(IDS[0], None, "v", "ada/echo", Status.PROCESSING, QUEUE, now, attempt=1, started_at=now)


def test_inspect_active_lists_what_runs_here(broker: redis.Redis, servers, sink: Sink) -> None:
    """The inspect command `active`, which Flower's worker page shows."""
    consumer.show_active(lambda: [prediction()])
    with consuming(servers, sink) as celery:
        answers = celery.control.inspect(timeout=5).active()
    (active,) = next(iter(answers.values()))
    assert (active["id"], active["name"], active["args"]) == (IDS[0], names.TASK_PREDICT, [IDS[0]])
    assert active["delivery_info"] == {"routing_key": QUEUE}


def test_revoke_and_terminate_cancel_predictions(broker: redis.Redis, servers, sink: Sink) -> None:
    """The control commands `revoke` and `terminate`, which Flower's buttons send."""
    canceled: list[str] = []
    consumer.cancel_revoked(canceled.extend)
    with consuming(servers, sink) as celery:
        eventually(lambda: celery.control.ping(timeout=1))
        celery.control.revoke(IDS[0])
        celery.control.revoke([*IDS[1:3], "no prediction's id"], terminate=True, signal="SIGKILL")
        celery.control.terminate(IDS[3])
        eventually(lambda: len(canceled) == 4)
    assert sorted(canceled) == IDS[:4]


@contextmanager
def receiving(celery: Celery, broker: redis.Redis, into: list[dict[str, Any]]) -> Iterator[None]:
    """Events of tasks, as Flower takes them."""
    with celery.connection_for_read() as connection:
        receiver = celery.events.Receiver(connection, handlers={"*": into.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        eventually(lambda: broker.exists(names.KEY_PREFIX + "_kombu.binding.celeryev"))
        yield
        receiver.should_stop = True
        thread.join()


def test_flower_sees_what_becomes_of_a_prediction_in_celerys_own_events(broker: redis.Redis, servers) -> None:
    """`app.events.Dispatcher` with its buffers, and the worker's counters behind Flower's worker page."""
    celery = make_celery(servers.redis_url)
    before = state.total_count[names.TASK_PREDICT], state.all_total_count[0]
    events: list[dict[str, Any]] = []
    with receiving(celery, broker, events):
        task_events = TaskEvents(celery, "cpu@here")
        task_events.start()
        task_events.on_claimed([prediction()])
        task_events.on_ended(prediction(), Status.SUCCEEDED)
        eventually(lambda: len(events) == 3)
    assert [event["type"] for event in events] == ["task-received", "task-started", "task-succeeded"]
    assert {event["uuid"] for event in events} == {IDS[0]}
    assert "'model': 'ada/echo'" in events[0]["kwargs"]
    assert {event["hostname"] for event in events} == {"cpu@here"}
    assert (state.total_count[names.TASK_PREDICT], state.all_total_count[0]) == (before[0] + 1, before[1] + 1)


def test_flower_sees_the_tries_of_a_delivery(broker: redis.Redis, servers) -> None:
    celery = make_celery(servers.redis_url)
    events: list[dict[str, Any]] = []
    url = "https://user:secret@example.com/hook?token=secret"
    with receiving(celery, broker, events):
        task_events = TaskEvents(celery, "courier@here")
        task_events.start()
        for tries, result in enumerate(
            (
                DeliveryResult("d", 500, "it answered 500", 0.1, 5.0),
                DeliveryResult("d", 410, "it answered 410", 0.1, None),
                DeliveryResult("d", 204, None, 0.1, None),
            )
        ):
            delivery = DueDelivery("d", "completed", url, b"", tries, None, None, prediction_id=IDS[0])
            task_events.on_delivery_begun(delivery)
            task_events.on_delivery_tried(result)
        eventually(lambda: len(events) == 9)
    assert [event["type"] for event in events[2::3]] == ["task-retried", "task-failed", "task-succeeded"]
    assert [event["retries"] for event in events[::3]] == [0, 1, 2]
    assert (events[0]["name"], events[0]["parent_id"]) == (names.TASK_DELIVER, IDS[0])
    assert "'url': 'https://example.com/hook'" in events[0]["kwargs"]
    assert "secret" not in str(events)


def test_flower_counts_the_queues_by_the_connections_address() -> None:
    """`Connection.as_uri`, from which Flower's broker page chooses its client."""
    for url in ("redis://:secret@127.0.0.1:6379/0", "rediss://:secret@127.0.0.1:6379/0"):
        connection = make_celery(url).connection()
        assert connection.as_uri(include_password=True).startswith(url)
        assert "secret" not in connection.as_uri()


def test_celery_encrypts_where_the_url_says_so() -> None:
    """`broker_use_ssl`: a managed Redis at `rediss://` would get plain text otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rediss://:secret@127.0.0.1:{server.getsockname()[1]}/0"

        def connect() -> None:
            with contextlib.suppress(Exception):
                make_celery(url).connection().connect()

        threading.Thread(target=connect, daemon=True).start()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b"\x16", "the first byte of a TLS handshake"


def test_celerys_own_command_line_finds_the_workers(broker: redis.Redis, servers, sink: Sink) -> None:
    """`celery -A app`: the broker of REDIS_URL, by our transport and key prefix."""
    with consuming(servers, sink):
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "app", "inspect", "ping", "--timeout", "5"],
            env={**os.environ, "REDIS_URL": servers.redis_url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, "pong" in done.stdout) == (0, True), done.stdout + done.stderr
