"""Request bodies in gzip and zstd are what they become: read, bounded and refused like any other."""

import asyncio
import gzip
import json
import sys
import zlib

import httpx
import pytest

from app.api.body_encoding import CompressedBody, Gzip, Zstd

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def post(
    ada, content: bytes, headers: dict[str, str] = JSON, path: str = "/v1/predictions"
) -> httpx.Response:
    answer: httpx.Response = ada.http.post(path, content=content, headers=headers)
    return answer


ZSTD = {**JSON, "Content-Encoding": "zstd"}
WAYS = {"gzip": (gzip.compress, JSON), "zstd": (zstd.compress, ZSTD)}
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
def test_a_prediction_may_come_compressed(ada, echo, way) -> None:
    compress, headers = WAYS[way]
    body = json.dumps({"version": echo["latest_version"]["id"], "input": {"text": "a" * 200_000}}).encode()
    answer = post(ada, compress(body), headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["input"]["text"] == "a" * 200_000


@each_way
def test_a_small_body_that_becomes_a_large_one_is_refused_at_the_bound(ada, way) -> None:
    compress, headers = WAYS[way]
    bomb = compress(b'{"input": "' + b"a" * 50_000_000)
    assert len(bomb) < 100_000
    answer = post(ada, bomb, headers)
    assert (answer.status_code, "at most 1000000 bytes" in answer.json()["detail"]) == (413, True)
    assert post(ada, compress(b" " * 100_000), headers, path="/v1/keys").status_code == 413


def broken(compress) -> list[bytes]:
    """Nothing of it is one whole compressed body."""
    return [b"{}", compress(b"{}")[:-3], compress(b"{}") + b"more", zlib.compress(b"{}"), b""]


@each_way
def test_what_is_not_what_it_says_is_refused_by_a_sentence(ada, way) -> None:
    compress, headers = WAYS[way]
    for content in broken(compress):
        answer = post(ada, content, headers)
        assert (answer.status_code, way in answer.text) == (400, True), (content, answer.text)


def test_a_zstd_body_with_a_window_that_would_take_much_memory_is_refused(ada) -> None:
    large = {
        zstd.CompressionParameter.window_log: 25,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = zstd.ZstdCompressor(options=large)
    answer = post(ada, packer.compress(b"{}" * 40_000_000) + packer.flush(), ZSTD)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd, gzip"])
def test_other_encodings_are_refused(ada, encoding) -> None:
    answer = post(ada, b"{}", {**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, "gzip" in answer.json()["detail"]) == (415, True)


@each_way
def test_pieces_of_any_size_give_the_same_bytes(way) -> None:
    body = bytes(range(256)) * 4_000
    sent = WAYS[way][0](body)

    async def read(size: int) -> bytes:
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]

        async def receive() -> dict[str, object]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        opened, whole, more = CompressedBody(receive, {"gzip": Gzip, "zstd": Zstd}[way]()), b"", True
        while more:
            message = await opened.receive()
            whole, more = whole + message["body"], message["more_body"]
        return whole

    assert all(asyncio.run(read(size)) == body for size in (1, 7, 1_000, len(sent)))


async def test_a_disconnect_in_the_middle_is_one() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    assert (await CompressedBody(receive, Gzip()).receive())["type"] == "http.disconnect"
