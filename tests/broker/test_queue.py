"""Our messages are Celery's, and notifications survive an outage of Redis."""

import base64
import json
import socketserver
import threading
import time

import pytest
import redis
from celery import Celery
from waiting import eventually

from app import redis_client
from app.broker import messages, names
from app.broker.celery_app import make_celery
from app.broker.publisher import Publisher
from app.broker.queue_lists import UnreadLists
from app.broker.redis_marker import RedisMarker

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
    return (
        {name: shape(part) for name, part in sorted(value.items())}
        if isinstance(value, dict)
        else type(value).__name__
    )


def test_a_message_has_the_shape_of_what_celery_itself_publishes(broker: redis.Redis, celery: Celery) -> None:
    celery.send_task(names.TASK_PREDICT, args=[ID], task_id=ID, queue="cpu")
    theirs = json.loads(broker.rpop(names.list_key("cpu")))
    ours = json.loads(messages.about(names.TASK_PREDICT, ID, "cpu"))
    assert shape(ours["properties"]) == shape(theirs["properties"])
    assert set(ours["headers"]) <= set(theirs["headers"])
    for name in ("task", "id", "argsrepr", "kwargsrepr", "root_id", "lang", "retries", "timelimit"):
        assert ours["headers"][name] == theirs["headers"][name], name
    assert json.loads(base64.b64decode(ours["body"])) == json.loads(base64.b64decode(theirs["body"]))
    assert (ours["content-type"], ours["content-encoding"]) == (
        theirs["content-type"],
        theirs["content-encoding"],
    )


def test_a_celery_worker_runs_what_we_publish_under_our_id(
    broker: redis.Redis, celery: Celery, servers
) -> None:
    seen: list[tuple[str, str]] = []

    @celery.task(name=names.TASK_PREDICT, bind=True)
    def predict(self, prediction_id: str) -> None:
        seen.append((self.request.id, prediction_id))

    from celery.contrib.testing.worker import start_worker

    with start_worker(
        celery,
        pool="threads",
        concurrency=2,
        queues=[names.celery_queue("cpu")],
        perform_ping_check=False,
        shutdown_timeout=20,
    ):
        publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
        publisher.start()
        publisher.publish([("cpu", ID)])
        eventually(lambda: seen)
        publisher.close()
    assert seen == [(ID, ID)]


def test_a_group_is_published_to_its_queues(broker: redis.Redis, servers) -> None:
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    publisher.publish([("cpu", ID)] * 3 + [("cuda", ID)])
    publisher.publish_deliveries(["msg_1"])
    publisher.close()
    keys = [names.queue_key("cpu"), names.queue_key("cuda"), names.list_key("webhooks")]
    assert [broker.llen(key) for key in keys] == [3, 1, 1]
    tags = [
        json.loads(raw)["properties"]["delivery_tag"] for raw in broker.lrange(names.queue_key("cpu"), 0, -1)
    ]
    assert len(set(tags)) == 3


def test_state_changes_go_out_behind_the_messages_they_are_about(broker: redis.Redis, servers) -> None:
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    with broker.pubsub() as listener:
        listener.subscribe("changes")
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        publisher.publish([("cpu", ID)], [["ada", ID, "starting", "ada/echo"]])
        message = listener.get_message(timeout=10)
        assert json.loads(message["data"]) == [["ada", ID, "starting", "ada/echo"]]
        assert broker.llen(names.queue_key("cpu")) == 1
        publisher.publish([("cpu", ID)])
        publisher.close()
        assert listener.get_message(timeout=0.5) is None


def test_an_unreachable_redis_blocks_nobody_and_the_messages_are_kept() -> None:
    publisher = Publisher(redis_client.connect("redis://127.0.0.1:1/0"), "changes")
    publisher.start()
    began = time.monotonic()
    publisher.publish([("cpu", ID)] * 1000)
    assert time.monotonic() - began < 2
    eventually(lambda: publisher.failing)
    assert publisher.dropped == 0
    publisher.close()
    assert publisher.dropped == 1000


def test_what_redis_refuses_is_dropped_and_counted_and_nothing_is_sent_again(
    broker: redis.Redis, servers
) -> None:
    """One queue whose key was no list had every message of its group sent twice a second, for ever."""
    broker.set(names.queue_key("cuda"), "no list")
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    publisher.publish([("cpu", ID)] * 50 + [("cuda", ID)] + [("mps", ID)] * 50)
    eventually(lambda: publisher.refused == 1)
    publisher.publish([("cpu", ID)])
    publisher.close()
    assert (publisher.refused, publisher.dropped, publisher.failing) == (1, 1, False)
    assert [broker.llen(names.queue_key(queue)) for queue in ("cpu", "mps")] == [51, 50]


@pytest.mark.parametrize("queue", ["marker", "webhooks", "sweeps", "_kombu.binding.sweeps"])
def test_no_queues_name_meets_another_key(broker: redis.Redis, servers, queue: str) -> None:
    broker.set(names.KEY_PREFIX + queue, "something else")
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    publisher.publish([(queue, ID)])
    publisher.close()
    assert (publisher.refused, broker.llen(names.queue_key(queue))) == (0, 1)


class DyingRedis(socketserver.ThreadingTCPServer):
    """Answers commands with OK and a push with 1; ends the first connection after its first push."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), DyingRedis.Connection)
        self.pushed: list[tuple[str, int]] = []  # key and number of messages

    class Connection(socketserver.StreamRequestHandler):
        server: "DyingRedis"

        def handle(self) -> None:
            while line := self.rfile.readline():
                words = [self.word() for _ in range(int(line[1:]))]
                if words[0] != b"LPUSH":
                    self.wfile.write(b"+OK\r\n")
                    continue
                self.server.pushed.append((words[1].decode(), len(words) - 2))
                self.wfile.write(b":1\r\n")
                if len(self.server.pushed) == 1:
                    return

        def word(self) -> bytes:
            size = int(self.rfile.readline()[1:])
            return self.rfile.read(size + 2)[:-2]


def test_only_what_was_lost_with_the_connection_is_sent_again() -> None:
    with DyingRedis() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2"
        publisher = Publisher(redis_client.connect(url), "changes")
        publisher.start()
        publisher.publish([("cpu", ID)] * 3 + [("cuda", ID)] * 2)
        eventually(lambda: len(server.pushed) == 2)
        publisher.close()
        assert server.pushed == [(names.queue_key("cpu"), 3), (names.queue_key("cuda"), 2)]
        assert publisher.dropped == 0
        server.shutdown()


def test_lists_that_nobody_reads_are_deleted_and_no_other_key(broker: redis.Redis, servers) -> None:
    for queue in ("cpu", "cpu@here", "cuda:0@renamed", "marker"):
        broker.lpush(names.queue_key(queue), "x")
    for key in ("webhooks", "sweeps", "abc.reply.celery.pidbox", "cpu", "cuda:0@renamed"):
        broker.lpush(names.KEY_PREFIX + key, "x")
    broker.set(names.KEY_PREFIX + "marker", "1")
    deleted = UnreadLists(redis_client.connect(servers.redis_url)).delete({"cpu", "cpu@here", "any"})
    assert sorted(deleted) == ["cpu", "cuda:0@renamed", "cuda:0@renamed", "marker"]
    kept = {key.decode().removeprefix(names.KEY_PREFIX) for key in broker.scan_iter("*")}
    assert kept == {"q:cpu", "q:cpu@here", "webhooks", "sweeps", "abc.reply.celery.pidbox", "marker"}
    assert UnreadLists(redis_client.connect("redis://127.0.0.1:1/0")).delete(set()) == []


def test_a_message_that_cannot_be_encoded_keeps_no_other_back(broker: redis.Redis, servers) -> None:
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    publisher.publish([("cpu", None)])  # type: ignore[list-item]
    until = time.monotonic() + 20
    while not publisher.dropped and time.monotonic() < until:
        time.sleep(0.01)
    publisher.publish([("cpu", ID)])
    publisher.close()
    assert (publisher.dropped, broker.llen(names.queue_key("cpu"))) == (1, 1)


def test_the_marker_shows_a_wiped_redis_and_a_dead_one_shows_nothing(broker: redis.Redis, servers) -> None:
    marker = RedisMarker(redis_client.connect(servers.redis_url))
    assert marker.is_missing()
    marker.set()
    assert not marker.is_missing()
    broker.flushall()
    assert marker.is_missing()
    dead = RedisMarker(redis_client.connect("redis://127.0.0.1:1/0"))
    assert not dead.is_missing()
    dead.set()


def test_threads_may_publish_at_once(broker: redis.Redis, servers) -> None:
    publisher = Publisher(redis_client.connect(servers.redis_url), "changes")
    publisher.start()
    threads = [threading.Thread(target=publisher.publish, args=([("cpu", ID)] * 50,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.close()
    assert broker.llen(names.queue_key("cpu")) == 400
