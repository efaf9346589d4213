"""What is kept of streams in Redis is bounded in bytes, and so is what one group sends."""

from typing import Any

import pytest
import redis

from app.events import channels
from app.events.channels import KEPT_BYTES, ChunkFrame
from app.events.writer import EventWriter

ONE = "0" * 26


@pytest.fixture
def client(settings: Any) -> Any:
    opened = redis.Redis.from_url(settings.redis_url)
    yield opened
    opened.delete(channels.kept(ONE))
    opened.close()


@pytest.mark.parametrize("sizes", [[40_000], [20], [10, 200_000, 10, 10], [900_000, 1]])
def test_a_prediction_keeps_no_more_than_two_megabytes_of_its_stream(client: Any, sizes: list[int]) -> None:
    writer = EventWriter(client)
    writer.start()
    for number in range(120):
        writer.chunk(ONE, ChunkFrame(1, number, "x" * sizes[number % len(sizes)]))
    writer.close()
    entries = client.xrange(channels.kept(ONE))
    kept = sum(len(fields[b"f"]) for _, fields in entries)
    assert kept <= 2 * KEPT_BYTES
    assert len(entries) == 120 or max(sizes) > 1_000
    assert ChunkFrame.decode(entries[-1][1][b"f"]).number == 119


def test_a_chunk_of_megabytes_does_not_go_through_redis(client: Any) -> None:
    writer = EventWriter(client)
    writer.start()
    writer.chunk(ONE, ChunkFrame(1, 0, "x" * KEPT_BYTES))
    writer.chunk(ONE, ChunkFrame(1, 1, "y"))
    writer.close()
    assert [ChunkFrame.decode(fields[b"f"]).number for _, fields in client.xrange(channels.kept(ONE))] == [1]
    assert writer.dropped == 1


def test_what_waits_for_a_redis_that_is_away_is_bounded_in_bytes(client: Any) -> None:
    writer = EventWriter(client)
    for number in range(100):
        writer.chunk(ONE, ChunkFrame(1, number, "x" * 900_000))
    assert 0 < writer.dropped < 100
