"""Sound and pictures between files and arrays: WAV by the standard library, pictures by Pillow. Knows no
model."""

import wave
from pathlib import Path
from typing import Any

from app.domain.pictures import MOST_PIXELS

# Little-endian PCM by bytes a sample -> numpy's name and the largest value.
PCM = {2: ("<i2", 2**15), 4: ("<i4", 2**31)}


def read_wav(path: str, rate: int) -> Any:
    """Mono samples as float32 in -1…1 at `rate` per second, or None when the file is no WAV of 16 or 32
    bits."""
    import numpy

    try:
        with wave.open(path, "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            own_rate = file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return None
    if width not in PCM:
        return None
    kind, most = PCM[width]
    samples = numpy.frombuffer(data, dtype=kind).astype(numpy.float32).reshape(-1, channels).mean(1) / most
    return resampled(samples, own_rate, rate)


def resampled(samples: Any, own_rate: int, rate: int) -> Any:
    """At another rate; filtered where scipy is installed, else linear."""
    import numpy

    if own_rate == rate or not len(samples):
        return samples
    try:
        from scipy.signal import resample_poly  # type: ignore[import-untyped]
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


def read_picture(path: str) -> Any:
    """In RGB. Raises ValueError for what is no picture, or one of more than MOST_PIXELS: nothing of it is
    decoded then."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:  # where Pillow only warns
                raise ValueError(
                    f"the picture has {picture.width} x {picture.height} pixels; at most {MOST_PIXELS} are"
                    " read"
                )
            return picture.convert("RGB")
    except Image.DecompressionBombError as error:
        raise ValueError(f"the picture has more than {MOST_PIXELS} pixels") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # a broken PNG is a SyntaxError to Pillow
        raise ValueError("the file is not a picture that can be read") from error
