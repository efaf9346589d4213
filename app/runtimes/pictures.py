"""A picture file as a person sees it: upright, on white where it is transparent, its first frame, in RGB of 8
bits. Knows no model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.domain.pictures import MOST_PIXELS

# Pillow's names of what is read; its other readers are for files that nobody sends, or run other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "QOI")
TAKEN = "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, ICO, PPM and QOI are read"
MOST_OF_16_BITS = 65_535
# Of a picture that waits decoded: 16 MB. What is larger is read again when its turn has come: of the
# pictures that are prepared ahead, two batches' worth, each may have 270 MB.
KEPT_PIXELS = 5_500_000


@dataclass(frozen=True, slots=True)
class LargePicture:
    """One that was read and found good, and is not kept."""

    path: str
    pixels: int


def prepare_picture(path: str) -> Any:
    """As `read_picture`, or of a large one a LargePicture."""
    picture = read_picture(path)
    pixels = picture.width * picture.height
    return LargePicture(path, pixels) if pixels > KEPT_PIXELS else picture


def opened(picture: Any) -> Any:
    """What `prepare_picture` gave, in RGB."""
    return read_picture(picture.path) if isinstance(picture, LargePicture) else picture


def read_picture(path: str) -> Any:
    """In RGB. Raises ValueError for what is no picture, or one of more than MOST_PIXELS: nothing of it is
    decoded then."""
    return _read(path, as_seen)


def read_mask(path: str) -> Any:
    """What of a picture is meant, in 8 bits of grey: what is white; of one with transparent places, those.
    Raises as `read_picture`."""
    return _read(path, as_mask)


def _read(path: str, look: Callable[[Any], Any]) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:  # where Pillow only warns
                raise ValueError(
                    f"the picture has {picture.width} x {picture.height} pixels; at most {MOST_PIXELS} are"
                    " read"
                )
            return look(picture)
    except Image.DecompressionBombError as error:
        raise ValueError(f"the picture has more than {MOST_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"the file is not a picture that can be read; {TAKEN}") from error
    except (OSError, SyntaxError, EOFError) as error:  # a broken PNG is a SyntaxError to Pillow
        raise ValueError("the picture is broken or cut off") from error


def as_seen(picture: Any) -> Any:
    """An opened picture as a person sees it, in RGB."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        picture = _in_8_bits(picture)
    if picture.mode == "CMYK":
        return _from_cmyk(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def as_mask(picture: Any) -> Any:
    """An opened picture as a mask. OpenAI's clients send the picture itself with a hole in it, others one in
    black and white, which may have an alpha channel and no hole."""
    from PIL import ImageChops, ImageOps

    opaque = 255
    if "A" in picture.getbands() or "transparency" in picture.info:
        alpha = ImageOps.exif_transpose(picture).convert("RGBA").getchannel("A")
        if any(alpha.histogram()[:opaque]):
            return ImageChops.invert(alpha)
    return as_seen(picture).convert("L")


def _in_8_bits(picture: Any) -> Any:
    """Of 16 bits, the upper eight (Pillow would cut everything above 255 off); of numbers with fractions, 0
    to 1 as black to white."""
    import numpy
    from PIL import Image

    values = numpy.asarray(picture, dtype=numpy.float64)
    most = 1.0 if picture.mode == "F" else float(MOST_OF_16_BITS)
    whole = (numpy.nan_to_num(values).clip(0.0, most) / most * 255.0).round().astype(numpy.uint8)
    return Image.fromarray(whole)


def _from_cmyk(picture: Any) -> Any:
    """By the picture's own profile, where it has a good one: without it the colours of print are far off."""
    import io

    from PIL import ImageCms

    if profile := picture.info.get("icc_profile"):
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            seen = ImageCms.profileToProfile(picture, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            seen = None
        if seen is not None:
            return seen
    return picture.convert("RGB")
