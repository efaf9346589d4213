"""Files of sound and pictures as recorders, phones and programs write them."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy
import pytest
from PIL import Image

from app.runtimes.pictures import read_picture
from app.runtimes.sound import read_sound, write_sound

RATE = 16_000
TONE = (0.5 * numpy.sin(2 * numpy.pi * 440 * numpy.arange(RATE) / RATE)).astype("float32")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def in_bits(bits: int) -> bytes:
    if bits == 8:
        return bytes((TONE * 127 + 128).astype("u1"))
    whole = (TONE.astype("f8") * (2 ** (bits - 1) - 1)).astype("<i4")
    return b"".join(struct.pack("<i", number)[: bits // 8] for number in whole.tolist())


def wav(tag: int, bits: int, data: bytes, channels: int = 1, inside: int = 0) -> bytes:
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, RATE, RATE * align, align, bits)
    if tag == EXTENSIBLE:
        form += struct.pack("<HHIH", 22, bits, 0, inside) + bytes.fromhex("000000001000800000aa00389b71")
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


WAVS = {
    "8 bits": wav(PCM, 8, in_bits(8)),
    "16 bits": wav(PCM, 16, in_bits(16)),
    "24 bits": wav(PCM, 24, in_bits(24)),
    "32 bits": wav(PCM, 32, in_bits(32)),
    "float": wav(FLOAT, 32, TONE.tobytes()),
    "double": wav(FLOAT, 64, TONE.astype("f8").tobytes()),
    "extensible, 16 bits": wav(EXTENSIBLE, 16, in_bits(16), inside=PCM),
    "extensible, 24 bits": wav(EXTENSIBLE, 24, in_bits(24), inside=PCM),
    "extensible, float": wav(EXTENSIBLE, 32, TONE.tobytes(), inside=FLOAT),
    "six channels": wav(FLOAT, 32, numpy.repeat(TONE, 6).tobytes(), channels=6),
}


@pytest.mark.parametrize("kind", WAVS)
def test_every_kind_of_wav_is_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").write_bytes(WAVS[kind])
    samples = read_sound(str(tmp_path / "in"), RATE)
    numpy.testing.assert_allclose(samples, TONE, atol=0.02 if kind == "8 bits" else 1e-4)


@pytest.mark.parametrize(
    ("codec", "container"),
    [
        ("flac", "flac"),
        ("libmp3lame", "mp3"),
        ("aac", "mp4"),
        ("libopus", "webm"),
        ("libopus", "ogg"),
        ("aac", "adts"),
    ],
)
def test_what_phones_and_browsers_record_is_read(tmp_path: Path, codec: str, container: str) -> None:
    file = str(tmp_path / "in")
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000 if codec == "libopus" else RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(TONE[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        convert = av.AudioResampler(stream.codec_context.format, "mono", stream.codec_context.sample_rate)
        for part in (*convert.resample(frame), *convert.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    samples = read_sound(file, RATE)
    assert abs(len(samples) - RATE) < 2_000
    assert abs(numpy.abs(numpy.fft.rfft(samples[:RATE], RATE)).argmax() - 440) <= 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a letter, no sound", "not sound that can be read; WAV, FLAC"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\nfile:///etc/passwd\n", "not sound that can be read"),
        (WAVS["16 bits"][:20], "broken or cut off"),
        (b"\xff\xfb\x90\x00" + bytes(100), "broken or cut off"),
        (wav(PCM, 16, b""), "has no samples"),
        (b"", "not sound"),
    ],
)
def test_what_is_no_sound_is_refused_with_the_formats_taken(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_sound(str(tmp_path / "in"), RATE)


def seen(tmp_path: Path, picture: Any, name: str = "in.png", **options: Any) -> Any:
    picture.save(tmp_path / name, **options)
    return read_picture(str(tmp_path / name))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        picture: Any = Image.new("P", (2, 1), 0)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        found = seen(tmp_path, picture, transparency=0)
    else:
        found = seen(tmp_path, Image.new(mode, (2, 1), (0,) * len(mode)))
    assert found.mode == "RGB"
    assert found.getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert seen(tmp_path, picture, "in.jpg", exif=exif).size == (20, 40)


def test_sixteen_bits_are_not_cut_to_white(tmp_path: Path) -> None:
    grey = Image.fromarray(numpy.full((2, 2), 32_896, dtype=numpy.uint16))
    assert seen(tmp_path, grey).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("form", ["wav", "mp3", "opus", "aac", "flac"])
def test_sound_is_written_in_every_form_that_is_offered(tmp_path: Path, form: str) -> None:
    write_sound(tmp_path / "out", TONE, RATE, form)
    samples = read_sound(str(tmp_path / "out"), RATE)
    assert abs(len(samples) - RATE) < RATE / 10
    assert abs(float(numpy.sqrt((samples**2).mean())) - 0.35) < 0.05


def test_print_colours_and_animations_are_pictures(tmp_path: Path) -> None:
    cyan = seen(tmp_path, Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "in.jpg").getpixel((0, 0))
    assert cyan[0] < 60 < 150 < cyan[2]
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    assert seen(tmp_path, frames[0], "in.gif", save_all=True, append_images=frames[1:]).getpixel((0, 0)) == (
        255,
        0,
        0,
    )


def test_other_files_and_cut_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.ps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="not a picture that can be read; PNG, JPEG"):
        read_picture(str(tmp_path / "in.ps"))
    noise = Image.fromarray(numpy.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=numpy.uint8))
    noise.save(tmp_path / "in.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:2_000])
    with pytest.raises(ValueError, match="broken or cut off"):
        read_picture(str(tmp_path / "cut.png"))
