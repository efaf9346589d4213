"""Commands leave at once from whoever is alone, in groups when Redis is busy, and nobody waits for it."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis
from waiting import eventually

from app import redis_client
from app.coalesce import next_group
from app.redis_pipe import BatchSender, Command


class Texts(BatchSender[list[str]]):
    """Pushes texts onto a list, a group as one command; remembers who sent each group and what was lost."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_client.connect(redis_url), "texts")
        self.waiting: deque[str] = deque()
        self.groups: list[tuple[str, list[str]]] = []
        self.lost: list[tuple[list[str], Exception]] = []
        self.refused: list[tuple[list[str], Mapping[int, redis.ResponseError]]] = []
        self.broken: list[list[str]] = []

    def push(self, text: str) -> None:
        with self._wake:
            self.waiting.append(text)
            batch = self._begin_batch()
        self._send(batch)

    def _has_some(self) -> bool:
        return bool(self.waiting)

    def _next_group(self) -> list[str] | None:
        return next_group(self.waiting, 100) if self.waiting else None

    def _commands(self, group: list[str]) -> list[Command]:
        self.groups.append((threading.current_thread().name, group))
        if "not to be encoded" in group:
            raise ValueError("not to be encoded")
        return [("RPUSH", "wrong" if "wrong" in group else "texts", *group)]

    def _on_lost(self, group: list[str], error: redis.RedisError, answered: int) -> None:
        self.lost.append((group, error))

    def _on_refused(self, group: list[str], refused: Mapping[int, redis.ResponseError]) -> None:
        self.refused.append((group, refused))

    def _on_bug(self, group: list[str]) -> None:
        self.broken.append(group)

    def idle(self) -> bool:
        with self._wake:
            return not (self._sending or self._batch or self.waiting)


@pytest.fixture
def broker(servers: Any) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(servers.redis_url, decode_responses=True)
    client.delete("texts", "wrong")
    yield client
    client.close()


@pytest.fixture
def texts(servers: Any, broker: redis.Redis) -> Iterator[Texts]:
    """One whose connection is open."""
    made = Texts(servers.redis_url)
    made.start()
    made.push("first")
    eventually(lambda: broker.llen("texts") == 1 and made.idle())
    yield made
    made.close()


def pushed(broker: redis.Redis) -> list[str]:
    return broker.lrange("texts", 0, -1)  # type: ignore[return-value]


def test_the_first_is_for_the_senders_thread_and_a_lone_one_leaves_from_its_callers(
    texts: Texts, broker: redis.Redis
) -> None:
    texts.push("lone")
    eventually(lambda: pushed(broker) == ["first", "lone"])
    assert texts.groups == [("texts", ["first"]), (threading.current_thread().name, ["lone"])]


@pytest.mark.alone
def test_while_redis_answers_nothing_others_gather_and_nobody_waits(
    texts: Texts, broker: redis.Redis
) -> None:
    broker.client_pause(800)
    began = time.monotonic()
    for number in range(50):
        texts.push(str(number))
    assert time.monotonic() - began < 0.5
    eventually(lambda: len(pushed(broker)) == 51)
    assert [group for _, group in texts.groups[1:]] == [["0"], [str(number) for number in range(1, 50)]]


@pytest.mark.alone
def test_what_no_buffer_holds_is_not_its_callers_to_send(texts: Texts, broker: redis.Redis) -> None:
    broker.client_pause(800)
    began = time.monotonic()
    texts.push("x" * 20_000_000)
    assert time.monotonic() - began < 0.5
    eventually(lambda: broker.llen("texts") == 2)
    assert texts.groups[-1][0] == threading.current_thread().name, "it was packed there"
    assert texts.lost == []


def test_a_connection_that_ended_unseen_costs_nothing(texts: Texts, broker: redis.Redis) -> None:
    batch = broker.client_id()
    for other in broker.client_list():
        if int(other["id"]) != batch:
            broker.client_kill_filter(_id=other["id"])
    texts.push("afterwards")
    eventually(lambda: pushed(broker) == ["first", "afterwards"])
    assert texts.lost == []
    assert texts.groups[-1][0] == "texts", "who has to connect is not the caller"


def test_what_redis_refuses_is_lost_alone(texts: Texts, broker: redis.Redis) -> None:
    broker.set("wrong", "no list")
    texts.push("wrong")
    eventually(lambda: len(texts.refused) == 1 and texts.idle())
    assert texts.refused[0][0] == ["wrong"]
    assert list(texts.refused[0][1]) == [0]
    texts.push("right")
    eventually(lambda: pushed(broker) == ["first", "right"])
    assert texts.lost == []


def test_a_server_that_has_become_a_replica_refuses_nothing_it_is_lost(
    texts: Texts, broker: redis.Redis
) -> None:
    broker.replicaof("127.0.0.1", "1")
    texts.push("later")
    eventually(lambda: len(texts.lost) == 1 and texts.idle())
    broker.replicaof("NO", "ONE")
    assert texts.refused == []
    texts.push("again")
    eventually(lambda: pushed(broker)[-1:] == ["again"])


def test_what_cannot_be_encoded_silences_no_other(texts: Texts, broker: redis.Redis) -> None:
    texts.push("not to be encoded")
    eventually(lambda: texts.broken == [["not to be encoded"]] and texts.idle())
    texts.push("fine")
    eventually(lambda: pushed(broker) == ["first", "fine"])


def test_an_unreachable_redis_is_an_error_each_time() -> None:
    texts = Texts("redis://127.0.0.1:1/0")
    texts.start()
    for number in range(2):
        texts.push(str(number))
        eventually(lambda number=number: len(texts.lost) == number + 1 and texts.idle())
    assert all(isinstance(error, redis.ConnectionError) for _, error in texts.lost)
    texts.close()


def test_many_threads_lose_nothing_and_closing_sends_the_rest(texts: Texts, broker: redis.Redis) -> None:
    def push(name: int) -> None:
        for number in range(200):
            texts.push(f"{name}-{number}")

    threads = [threading.Thread(target=push, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts.close()
    found = pushed(broker)[1:]
    assert sorted(found) == sorted(f"{name}-{number}" for name in range(8) for number in range(200))
    for name in range(8):
        assert [one for one in found if one.startswith(f"{name}-")] == [
            f"{name}-{number}" for number in range(200)
        ]
    assert texts.lost == texts.broken == []
