"""Sound between files and arrays: whatever recorders and browsers write, by PyAV, which brings its own
decoders. Knows no model.

The kind of a file is read from its first bytes and the decoder is named, so that no playlist or script, which
would name other files and addresses, is ever followed.
"""

import wave
from pathlib import Path
from typing import Any

# Beginnings, with the name of FFmpeg's reader. The first that fits counts.
BEGINNINGS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"RIFF", "wav"),
    (0, b"RF64", "wav"),
    (0, b"riff", "w64"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (4, b"ftyp", "mov"),
    (0, b"ID3", "mp3"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
    (0, b".snd", "au"),
    (0, b"#!AMR", "amr"),
)
TAKEN = "WAV, FLAC, MP3, AAC, M4A, MP4, WebM, Ogg (Vorbis, Opus), AIFF, CAF, AU and AMR are read"
# Mono at 16,000 per second this is 0.9 GB; a longer recording is better cut by its owner.
MOST_SECONDS = 4 * 3_600


def read_sound(path: str, rate: int) -> Any:
    """Mono samples as float32 in -1…1 at `rate` per second. Raises ValueError for what is no sound, is empty,
    or longer than MOST_SECONDS."""
    import av

    with open(path, "rb") as file:
        kind = kind_of(file.read(16))
        file.seek(0)
        if not kind:
            raise ValueError(f"the file is not sound that can be read; {TAKEN}")
        try:
            with av.open(file, format=kind) as container:
                samples, own_rate = _decode(container)
        except (av.FFmpegError, EOFError) as error:
            raise ValueError(f"the sound is broken or cut off; {TAKEN}") from error
    if not len(samples):
        raise ValueError("the sound has no samples")
    return resampled(samples, own_rate, rate)


def kind_of(head: bytes) -> str:
    """FFmpeg's name of the format that begins with these bytes; "" for none that is read."""
    for offset, beginning, kind in BEGINNINGS:
        if head[offset:].startswith(beginning):
            return kind
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # twelve set bits, no layer: ADTS
        return "aac"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # eleven set bits begin a frame
        return "mp3"
    return ""


def _decode(container: Any) -> tuple[Any, int]:
    """(mono samples, their rate) of the first track of sound."""
    import numpy

    if not container.streams.audio:
        raise ValueError("the file holds no sound")
    parts: list[Any] = []
    count, rate = 0, 0
    for frame in container.decode(audio=0):
        rate = rate or frame.sample_rate
        parts.append(_mono(frame))
        if (count := count + len(parts[-1])) > MOST_SECONDS * rate:
            raise ValueError(f"the sound is longer than {MOST_SECONDS // 3_600} hours")
    return numpy.concatenate(parts) if parts else numpy.zeros(0, numpy.float32), rate


def _mono(frame: Any) -> Any:
    """A frame's channels, averaged, as float32 in -1…1."""
    import numpy

    values = frame.to_ndarray()
    if not frame.format.is_planar:  # one row, channels in turn
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == numpy.uint8:
        values = (values.astype(numpy.float32) - 128.0) / 128.0
    elif values.dtype.kind == "i":
        values = values.astype(numpy.float32) / float(numpy.iinfo(values.dtype).max + 1)
    return values.astype(numpy.float32).mean(0)


def resampled(samples: Any, own_rate: int, rate: int) -> Any:
    """At another rate; filtered where scipy is installed, else linear."""
    import numpy

    if own_rate == rate or not len(samples):
        return samples
    try:
        from scipy.signal import resample_poly
    except ImportError:
        positions = numpy.arange(0, len(samples), own_rate / rate)
        return numpy.interp(positions, numpy.arange(len(samples)), samples).astype(numpy.float32)
    return resample_poly(samples, rate, own_rate).astype(numpy.float32)


def write_wav(path: Path, samples: Any, rate: int) -> None:
    """Mono or (channels, samples) in -1…1, as 16 bits."""
    import numpy

    whole = (
        numpy.atleast_2d(numpy.asarray(samples, dtype=numpy.float32)).T.clip(-1, 1) * (2**15 - 1)
    ).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(whole.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())


# A form's container and encoder by FFmpeg's names, and the rate that every such encoder takes.
ENCODERS = {
    "mp3": ("mp3", "libmp3lame", 48_000),
    "opus": ("ogg", "libopus", 48_000),
    "aac": ("adts", "aac", 48_000),
    "flac": ("flac", "flac", 0),  # takes any
}


def write_sound(path: Path, samples: Any, rate: int, form: str) -> None:
    """As wav, mp3, opus, aac or flac; but for wav, of several channels their mean."""
    if form == "wav":
        write_wav(path, samples, rate)
        return
    import av
    import numpy

    container, encoder, own_rate = ENCODERS[form]
    mono = numpy.atleast_2d(numpy.asarray(samples, dtype=numpy.float32)).mean(0, keepdims=True).clip(-1, 1)
    frame = av.AudioFrame.from_ndarray((mono * (2**15 - 1)).astype("<i2"), format="s16", layout="mono")
    frame.sample_rate = rate
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(encoder, rate=own_rate or rate, layout="mono")
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
