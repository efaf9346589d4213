"""Request bodies in gzip are what they become: read, bounded and refused like any other."""

import asyncio
import gzip
import json
import zlib

import httpx
import pytest

from app.api.body_encoding import GzipBody

JSON = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def post(
    ada, content: bytes, headers: dict[str, str] = JSON, path: str = "/v1/predictions"
) -> httpx.Response:
    answer: httpx.Response = ada.http.post(path, content=content, headers=headers)
    return answer


def test_a_prediction_may_come_in_gzip(ada, echo) -> None:
    body = json.dumps({"version": echo["latest_version"]["id"], "input": {"text": "a" * 200_000}}).encode()
    answer = post(ada, gzip.compress(body))
    assert answer.status_code == 201, answer.text
    assert answer.json()["input"]["text"] == "a" * 200_000


def test_a_small_body_that_becomes_a_large_one_is_refused_at_the_bound(ada) -> None:
    bomb = gzip.compress(b'{"input": "' + b"a" * 50_000_000)
    assert len(bomb) < 100_000
    answer = post(ada, bomb)
    assert (answer.status_code, "at most 1000000 bytes" in answer.json()["detail"]) == (413, True)
    assert post(ada, gzip.compress(b" " * 100_000), path="/v1/keys").status_code == 413


@pytest.mark.parametrize(
    "content",
    [b"{}", gzip.compress(b"{}")[:-3], gzip.compress(b"{}") + b"more", zlib.compress(b"{}"), b""],
    ids=["plain", "cut off", "more after it", "zlib", "empty"],  # gzip holds the time
)
def test_what_is_no_gzip_is_refused_by_a_sentence(ada, content) -> None:
    answer = post(ada, content)
    assert (answer.status_code, "gzip" in answer.text) == (400, True), answer.text


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(ada, encoding) -> None:
    answer = post(ada, b"{}", {**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, "gzip" in answer.json()["detail"]) == (415, True)


def test_pieces_of_any_size_give_the_same_bytes() -> None:
    body = bytes(range(256)) * 4_000
    sent = gzip.compress(body)

    async def read(size: int) -> bytes:
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]

        async def receive() -> dict[str, object]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        opened, whole, more = GzipBody(receive), b"", True
        while more:
            message = await opened.receive()
            whole, more = whole + message["body"], message["more_body"]
        return whole

    assert all(asyncio.run(read(size)) == body for size in (1, 7, 1_000, len(sent)))


async def test_a_disconnect_in_the_middle_is_one() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    assert (await GzipBody(receive).receive())["type"] == "http.disconnect"
