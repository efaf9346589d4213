"""Whether bytes can be a picture, by a few of them: early enough for a request to be refused, and nothing is
decoded.

Knows the beginnings of the usual formats, and of PNG its size and its end. What passes may still be broken; a
model's process finds that out.
"""

from collections.abc import Callable
from typing import Final

# Some 270 MB as RGB. Pillow warns above this (its MAX_IMAGE_PIXELS); here it is an error.
MOST_PIXELS: Final = 89_478_485
PNG: Final = b"\x89PNG\r\n\x1a\n"
BEGINNINGS: Final = (
    PNG,
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP",
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x01\x00",
    b"qoif",
    *(b"P%d" % n for n in range(1, 7)),
)
MOST_CHUNKS: Final = 2_000  # looked at; a PNG of more is taken as it is
Read = Callable[[int, int], bytes]  # (offset, length) -> the bytes there, fewer at the end


def fault_of(read: Read, size: int) -> str | None:
    """What is wrong with the picture, as the end of a sentence; None when there is nothing."""
    head = read(0, 32)
    if not (head.startswith(BEGINNINGS) or head[:4] + head[8:12] == b"RIFFWEBP" or head[4:8] == b"ftyp"):
        return "is not a picture of a known format"
    return _fault_of_png(read, size) if head.startswith(PNG) else None


def _fault_of_png(read: Read, size: int) -> str | None:
    head = read(8, 16)
    width, height = int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")
    if head[4:8] != b"IHDR" or width * height == 0:
        return "is not a valid PNG"
    if width * height > MOST_PIXELS:
        return f"has {width} x {height} pixels; at most {MOST_PIXELS} are read"
    offset = len(PNG)
    for _ in range(MOST_CHUNKS):
        chunk = read(offset, 8)
        offset += 12 + int.from_bytes(chunk[:4], "big")  # length, type, data, checksum
        if offset > size or len(chunk) < 8:
            return "is a PNG that is cut off"
        if chunk[4:] == b"IEND":
            return None
    return None
