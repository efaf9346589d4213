"""Our messages are Celery's, and the doorbell survives Redis."""

import base64
import json
import threading
import time

import pytest
import redis
from celery import Celery
from patience import eventually

from app.queue import messages, names
from app.queue.celery_app import make_celery
from app.queue.doorbell import Doorbell
from app.queue.publisher import Publisher

ID = "01m7y0v4xwhr4p32e26y5vzzew"


@pytest.fixture
def broker(servers) -> redis.Redis:
    client = redis.Redis.from_url(servers.redis_url)
    client.flushall()
    return client


@pytest.fixture
def celery(servers) -> Celery:
    return make_celery(servers.redis_url)


def shape(value: object) -> object:
    """Keys and types, without values that differ from message to message."""
    return {name: shape(part) for name, part in sorted(value.items())} if isinstance(value, dict) else type(value).__name__


def test_a_message_has_the_shape_of_what_celery_itself_publishes(broker: redis.Redis, celery: Celery) -> None:
    celery.send_task(names.TASK_PREDICT, args=[ID], task_id=ID, queue="cpu")
    theirs = json.loads(broker.rpop(f"{names.KEY_PREFIX}cpu"))
    ours = json.loads(messages.about(names.TASK_PREDICT, ID, "cpu"))
    assert shape(ours["properties"]) == shape(theirs["properties"])
    assert set(ours["headers"]) <= set(theirs["headers"])
    for name in ("task", "id", "argsrepr", "kwargsrepr", "root_id", "lang", "retries", "timelimit"):
        assert ours["headers"][name] == theirs["headers"][name], name
    assert json.loads(base64.b64decode(ours["body"])) == json.loads(base64.b64decode(theirs["body"]))
    assert (ours["content-type"], ours["content-encoding"]) == (theirs["content-type"], theirs["content-encoding"])


def test_a_celery_worker_runs_what_we_publish_under_our_id(broker: redis.Redis, celery: Celery, servers) -> None:
    seen: list[tuple[str, str]] = []

    @celery.task(name=names.TASK_PREDICT, bind=True)
    def predict(self, prediction_id: str) -> None:
        seen.append((self.request.id, prediction_id))

    from celery.contrib.testing.worker import start_worker

    with start_worker(celery, pool="threads", concurrency=2, queues=["cpu"], perform_ping_check=False, shutdown_timeout=20):
        publisher = Publisher(servers.redis_url, "news")
        publisher.start()
        publisher.ring([("cpu", ID)])
        eventually(lambda: seen)
        publisher.close()
    assert seen == [(ID, ID)]


def test_a_group_is_published_to_its_queues(broker: redis.Redis, servers) -> None:
    publisher = Publisher(servers.redis_url, "news")
    publisher.start()
    publisher.ring([("cpu", ID)] * 3 + [("cuda", ID)])
    publisher.ring_deliveries(["msg_1"])
    publisher.close()
    assert [broker.llen(names.KEY_PREFIX + queue) for queue in ("cpu", "cuda", "webhooks")] == [3, 1, 1]
    tags = [json.loads(raw)["properties"]["delivery_tag"] for raw in broker.lrange(names.KEY_PREFIX + "cpu", 0, -1)]
    assert len(set(tags)) == 3


def test_news_goes_out_behind_the_bells_it_is_about(broker: redis.Redis, servers) -> None:
    publisher = Publisher(servers.redis_url, "news")
    publisher.start()
    with broker.pubsub() as listener:
        listener.subscribe("news")
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        publisher.ring([("cpu", ID)], [["ada", ID, "starting", "ada/echo"]])
        heard = listener.get_message(timeout=10)
        assert json.loads(heard["data"]) == [["ada", ID, "starting", "ada/echo"]]
        assert broker.llen(names.KEY_PREFIX + "cpu") == 1
        publisher.ring([("cpu", ID)])
        publisher.close()
        assert listener.get_message(timeout=0.5) is None


def test_an_unreachable_redis_blocks_nobody_and_the_rings_are_kept() -> None:
    publisher = Publisher("redis://127.0.0.1:1/0", "news")
    publisher.start()
    began = time.monotonic()
    publisher.ring([("cpu", ID)] * 1000)
    assert time.monotonic() - began < 2
    eventually(lambda: publisher.failing)
    assert publisher.dropped == 0
    publisher.close()
    assert publisher.dropped == 1000


def test_a_ring_that_cannot_be_said_silences_no_other(broker: redis.Redis, servers) -> None:
    publisher = Publisher(servers.redis_url, "news")
    publisher.start()
    publisher.ring([("cpu", None)])  # type: ignore[list-item]
    until = time.monotonic() + 20
    while not publisher.dropped and time.monotonic() < until:
        time.sleep(0.01)
    publisher.ring([("cpu", ID)])
    publisher.close()
    assert (publisher.dropped, broker.llen(names.KEY_PREFIX + "cpu")) == (1, 1)


def test_the_marker_tells_a_wiped_redis_and_a_dead_one_tells_nothing(broker: redis.Redis, servers) -> None:
    bell = Doorbell(servers.redis_url)
    assert bell.was_wiped()
    bell.mark()
    assert not bell.was_wiped()
    broker.flushall()
    assert bell.was_wiped()
    bell.close()
    dead = Doorbell("redis://127.0.0.1:1/0")
    assert not dead.was_wiped()
    dead.mark()


def test_threads_may_ring_at_once(broker: redis.Redis, servers) -> None:
    publisher = Publisher(servers.redis_url, "news")
    publisher.start()
    threads = [threading.Thread(target=publisher.ring, args=([("cpu", ID)] * 50,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.close()
    assert broker.llen(f"{names.KEY_PREFIX}cpu") == 400
