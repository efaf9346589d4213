"""A stream read over disconnects, by two API processes and across a restart of Redis: no piece is lost or
doubled."""

import os
import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from platform_under_test import UpPlatform

PIECES, DISCONNECTS = 1_000, 5


@pytest.fixture
def second_api(platform: UpPlatform) -> Iterator[str]:
    """Another API process of the same platform; its URL."""
    with platform.another_api(API_DRAIN_SECONDS="0") as url:
        yield url


class Reader:
    """Reads events from wherever it is sent, always after the last one it has."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.last = ""
        self.done = False

    def read(self, url: str, enough: int) -> None:
        """Until `enough` pieces are there, or the stream has ended."""
        headers = {"Last-Event-ID": self.last} if self.last else {}
        with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            assert answer.status_code == 200
            event = data = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    self.last = value
                elif name == "data":
                    data = value
                elif not line and event:
                    self.done = event == "done"
                    if event == "output":
                        self.pieces.append(data)
                    if self.done or len(self.pieces) >= enough:
                        return
                    event = ""


def redis_process(platform: UpPlatform) -> psutil.Process:
    children = psutil.Process(platform.state.pid).children()
    return next(one for one in children if "valkey-server" in "".join(one.cmdline()[:1]))


def test_no_piece_is_lost_or_doubled(platform: UpPlatform, client: httpx.Client, second_api: str) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(PIECES))
    given = {"text": text, "chunks": PIECES, "seconds": 12}
    made = client.post("/v1/predictions", json={"version": "demo/echo", "input": given}).json()
    first = made["urls"]["stream"]
    both = (first, second_api + "/v1/streams/" + first.rpartition("/")[2])
    reader = Reader()
    for number in range(DISCONNECTS):
        reader.read(both[number % 2], (number + 1) * PIECES // (DISCONNECTS + 1))
        assert not reader.done, "the prediction ended before all the disconnects"
        if number == 2:
            os.kill(redis_process(platform).pid, signal.SIGKILL)
            time.sleep(0.5)
    while not reader.done:
        reader.read(both[DISCONNECTS % 2], PIECES + 1)
    assert "".join(reader.pieces) == text
    assert len(reader.pieces) == PIECES
    late = Reader()
    late.read(both[0], PIECES + 1)
    assert late.pieces == reader.pieces, "who comes late reads it all from the start"
