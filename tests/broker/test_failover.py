"""Redis becomes read-only for a while, as a primary does that fails over: nobody exits, connections are made
anew, and all is back soon after. A real server, made a replica of nobody, and real processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from waiting import eventually

from app import redis_client
from app.broker import messages, names
from app.domain import queue_names
from app.local.embedded import EmbeddedServers

pytestmark = pytest.mark.quiet

READ_ONLY_SECONDS = 4.0
BACK_SECONDS = 5.0
ID = "01m7y0v4xwhr4p32e26y5vzzew"
CONSUMER = """
import sys
from app.broker import consumer, names
from app.broker.celery_app import make_celery
from app.broker.celery_worker import serve
class Sink:
    on_idle, is_reading = staticmethod(lambda: None), False
    def on_message(self, message_id):
        print(message_id, flush=True)
app = make_celery(sys.argv[1])
consumer.attach(app, names.TASK_PREDICT, Sink(), ["cpu"])
serve(app, ["cpu"], "failover@test", lambda: None, "info")
"""
CLOCK = """
import sys
from app.broker.celery_clock import serve_clock
on_published = lambda: print("taken", flush=True)
serve_clock(sys.argv[1], sweep_seconds=0.3, log_level="warning", on_published=on_published)
"""


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that only these tests break."""
    with EmbeddedServers(tmp_path_factory.mktemp("failover"), postgres=False) as urls:
        yield urls.redis_url


@contextmanager
def read_only(url: str) -> Iterator[None]:
    with redis.Redis.from_url(url) as operator:
        operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            yield
        finally:
            operator.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def started(code: str, url: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, "-c", code, url], stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_a_server_that_became_read_only_counts_as_away_and_its_connections_are_dropped(
    own_redis: str,
) -> None:
    client = redis_client.connect(own_redis)
    client.set("a", 1)
    before = client.client_id()
    with read_only(own_redis):
        for write in (lambda: client.set("a", 2), lambda: client.brpop(["nothing"], 5)):
            with pytest.raises(redis.ConnectionError, match="it fails over"):
                write()
        assert client.get("a") == b"1"
        assert client.client_id() != before
    client.set("a", 3)


def test_who_waits_for_a_list_when_the_server_becomes_read_only_has_lost_its_connection(
    own_redis: str,
) -> None:
    client = redis_client.connect(own_redis, answer_seconds=20)
    blocked = client.connection_pool.get_connection()
    blocked.send_command("BRPOP", "nothing", 0)
    with read_only(own_redis), pytest.raises(redis.ConnectionError, match="it fails over"):
        blocked.read_response()


def test_a_celery_consumer_outlives_it_and_reads_on(own_redis: str, tmp_path: Path) -> None:
    client, log = redis_client.connect(own_redis), tmp_path / "log"

    def is_read(number: int) -> bool:
        message_id = f"{ID[:-2]}{number:02}"
        client.lpush(f"{names.KEY_PREFIX}cpu", messages.about(names.TASK_PREDICT, message_id, "cpu"))
        return bool(eventually(lambda: message_id.encode() in log.read_bytes(), BACK_SECONDS))

    with started(CONSUMER, own_redis, log) as consumer:
        eventually(client.pubsub_numpat)  # it is connected
        assert is_read(1)
        with read_only(own_redis):
            time.sleep(READ_ONLY_SECONDS)
            assert consumer.poll() is None, log.read_text()
        assert is_read(2)
        assert consumer.poll() is None
    assert b"Unrecoverable" not in log.read_bytes()


def test_the_clock_outlives_it_says_so_once_and_ticks_on(own_redis: str, tmp_path: Path) -> None:
    client, log, sweeps = (
        redis_client.connect(own_redis),
        tmp_path / "log",
        f"{names.KEY_PREFIX}{queue_names.SWEEPS}",
    )
    with started(CLOCK, own_redis, log) as clock:
        eventually(lambda: client.llen(sweeps))
        with read_only(own_redis):
            time.sleep(READ_ONLY_SECONDS)
            assert clock.poll() is None, log.read_text()
            taken = log.read_text().count("taken")
        assert taken, "the clock's health counts what was taken"
        eventually(lambda: log.read_text().count("taken") > taken, BACK_SECONDS)
        ticks = client.llen(sweeps)
        eventually(lambda: client.llen(sweeps) > ticks, BACK_SECONDS)
    text = log.read_text()
    assert "Traceback" not in text
    assert len(text) < 2_000, text
