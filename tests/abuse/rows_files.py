"""Rows about files as inputs: places that are not the caller's to read, what is no picture, and pictures that
explode."""

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import psutil
from abuse_case import CREATE, Case
from abuse_stage import MEMORY_BACK, Answer, Stage

PICTURES = "ada/pictures"
VIT: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "image_size": 8,
    "patch_size": 8,
    "id2label": {0: "a", 1: "b"},
}
PREPROCESSOR = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
BILLION_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE svg
 [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg"><text>&b;&x;</text></svg>"""


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, *extra: bytes) -> bytes:
    """A PNG of one bit a pixel with this compressed data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeroes(width: int, height: int) -> bytes:
    """The compressed lines of an empty picture, made without making the picture."""
    packer, line = zlib.compressobj(1), b"\x00" * ((width + 7) // 8 + 1)
    return b"".join(packer.compress(line) for _ in range(height)) + packer.flush()


GOOD = png(8, 8, zeroes(8, 8))


def asks(image: Any) -> dict[str, Any]:
    return {"version": PICTURES, "input": {"image": image}}


def model_of_pictures(stage: Stage) -> None:
    """A tiny classifier with random weights."""
    if "pictures" in stage.things:
        return
    from transformers import (
        ViTConfig,
        ViTForImageClassification,
    )  # 4 s that collecting the tests need not spend

    folder = stage.roots / "pictures"
    ViTForImageClassification(ViTConfig(**VIT)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    version = {"source": "path:pictures", "runtime": "pipeline", "task": "image-classification"}
    made = stage.ada.post("/v1/models", {"name": "pictures", "version": version})
    assert made.status == 201, made
    stage.things["pictures"] = made


def given(row: str, name: str, image: Any, statuses: tuple[int, ...] = (422,)) -> Case:
    def act(stage: Stage) -> Answer:
        model_of_pictures(stage)
        return stage.ada.post(CREATE, asks(image))

    return Case(row, name, act, statuses, says="image")


def files() -> Iterator[Case]:
    row = "file-inputs"
    for url in (
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "/etc/passwd",
        "../../etc/passwd",
        "C:\\x.png",
        "",
        "x.png",
        "ftp://e.com/x",
        "http://127.0.0.1:1/x.png",
        "http://localhost/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "http://2130706433/x",
        "http://user:pass@example.com/x",
        "https://example.com:99999/x",
        "http://exa mple.com/x",
    ):
        yield given(row, repr(url), url)
    broken = {
        "a text": uri(b"hello", "text/plain"),
        "a text that says it is a picture": uri(b"hello"),
        "nothing": uri(b""),
        "half a signature": uri(b"\x89PNG"),
        "a PNG cut in its head": uri(GOOD[:20]),
        "a PNG cut in its data": uri(GOOD[:45]),
        "a PNG without its end": uri(GOOD[:-12]),
        "a PNG whose chunk is longer than it": uri(GOOD[:33] + b"\x7f\xff\xff\xff" + GOOD[37:]),
        "an SVG with entities": uri(BILLION_LAUGHS, "image/svg+xml"),
        "a program": uri(b"\x7fELF" + b"\x00" * 99),
        "base64 that is none": "data:image/png;base64,@@@@",
        "base64 that is cut": uri(GOOD)[:-3],
        "no comma": "data:image/png;base64",
        "text in percents": "data:image/png,%89hello",
        "a number": 5,
        "an object": {"url": "x"},
        "a list": [uri(GOOD)],
    }
    for name, value in broken.items():
        yield given(row, name, value)
    for name in ("0" * 26, "z" * 26):
        yield given(row, f"a file of ours that is not there, {name[:1]}", f"http://x/v1/files/{name}")
    yield Case(row, "a file of somebody else's", elses_file, (422, 201))
    yield Case(row, "uploads that are no pictures", uploads, (201,), 60)


def elses_file(stage: Stage) -> Iterator[Answer]:
    made = stage.person("grace").call("POST", "/v1/files", files={"content": ("a.png", GOOD)})
    model_of_pictures(stage)
    answer = stage.ada.post(CREATE, asks(made.json()["urls"]["get"]))
    yield answer
    assert answer.status == 422


def uploads(stage: Stage) -> Iterator[Answer]:
    """Their bytes are looked at by the model's process only."""
    for name, content in {"svg": BILLION_LAUGHS, "cut": GOOD[:45], "text": b"hello", "empty": b""}.items():
        yield from answered_by_the_model(stage, f"{name}.png", content, "failed")


def bombs() -> Iterator[Case]:
    row = "image-bombs"
    claimed = {
        "2^31 pixels": (1 << 16, 1 << 15),
        "2^31 wide": (2**31 - 1, 1),
        "2^62": (2**31 - 1, 2**31 - 1),
        "no pixel": (0, 0),
    }
    yield given(row, "PNG of 30,000 x 30,000", uri(png(30_000, 30_000, wide())))
    for name, (width, height) in claimed.items():
        yield given(row, f"a head that claims {name}", uri(png(width, height, zeroes(8, 8))))
    yield given(row, "a zip bomb", uri(zip_bomb()))
    yield Case(row, "the same as uploads: the child survives", survived, (201,), 120)


@cache
def wide() -> bytes:
    """The compressed lines of a picture of 30,000 x 30,000: a hundred megabytes in a hundred kilobytes."""
    return zeroes(30_000, 30_000)


@cache
def zip_bomb() -> bytes:
    """64 MB in 64 kB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.png", "w") as file:
        for _ in range(4):
            file.write(b"\x00" * (1 << 24))
    return buffer.getvalue()


def survived(stage: Stage) -> Iterator[Answer]:
    """All run in one model process, whose memory does not grow by what they claim."""
    inflating = chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"\x00" * (1 << 26)))
    refused = {
        "wide": png(30_000, 30_000, wide()),
        "claims": png(1 << 16, 1 << 15, zeroes(8, 8)),
        "zip": zip_bomb(),
        "gif": (
            b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x08\x00;"
        ),
    }
    harmless = {
        "a text that inflates": png(8, 8, zeroes(8, 8), inflating),
        "more than it says": png(8, 8, zeroes(8, 80_000)),
    }
    yield from answered_by_the_model(stage, "good.png", GOOD, "succeeded")
    children = model_processes(stage)
    before = sum(map(memory_of, children))
    for name, content in refused.items():
        yield from answered_by_the_model(stage, f"{name}.png", content, "failed")
    for name, content in harmless.items():
        yield from answered_by_the_model(stage, f"{name}.png", content, "succeeded", "failed")
    yield from answered_by_the_model(stage, "good.png", GOOD, "succeeded")
    assert model_processes(stage) == children
    assert sum(map(memory_of, children)) - before < MEMORY_BACK


def memory_of(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def model_processes(stage: Stage) -> set[int]:
    return {one.pid for one in psutil.Process(stage.worker).children(recursive=True)}


def answered_by_the_model(stage: Stage, name: str, content: bytes, *statuses: str) -> Iterator[Answer]:
    model_of_pictures(stage)
    assert stage.worker
    upload = stage.ada.call("POST", "/v1/files", files={"content": (name, content)})
    yield upload
    made = stage.ada.post(CREATE, asks(upload.json()["urls"]["get"]))
    yield made
    ended = stage.ended(stage.ada, made)
    assert ended["status"] in statuses, ended
    if ended["status"] == "failed":
        assert ended["error_code"] == "invalid_input"
        assert "/tmp" not in ended["error"]


CASES = [case for rows in (files, bombs) for case in rows()]
