"""Pictures that a request brings: which of diffusers' pipelines goes on from them, and what it gets of them.
Knows no batch."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.runtimes.pictures import LargePicture, opened, prepare_picture, read_mask

# What a pipeline begins with: noise, a picture, or a picture of which a mask says what is painted anew.
TEXT = "text"
IMAGE = "image"
MASK = "mask"
UNETS_FOR_MASKS = (4, 9)  # channels
NAMES = {IMAGE: "Img2ImgPipeline", MASK: "InpaintPipeline"}


@dataclass(frozen=True, slots=True)
class Pipe:
    """A pipeline of diffusers, the names of what its call takes, and how much of a picture it changes unless
    that is said (None: it cannot be)."""

    call: Any
    takes: frozenset[str]
    strength: float | None = None

    @classmethod
    def described(cls, call: Any) -> "Pipe":
        parameters = inspect.signature(call.__call__).parameters
        strength = parameters["strength"].default if "strength" in parameters else None
        return cls(call, frozenset(parameters), strength)


@dataclass(frozen=True, slots=True)
class SourcePicture:
    """Of one request: the kind of pipeline that it needs, its picture and mask, how much is to change (None:
    that cannot be said)."""

    kind: str = TEXT
    picture: Any = None
    mask: Any = None
    strength: float | None = None


class Pipes:
    """The loaded pipeline, and those that its parts serve, too: they share its weights. A pipeline that is
    made for pictures is the only one: its network may need them. Others are made when they are first needed:
    their modules take time to import."""

    def __init__(self, pipe: Any) -> None:
        self._loaded = Pipe.described(pipe)
        takes = self._loaded.takes
        self.own = MASK if "mask_image" in takes else IMAGE if "image" in takes else TEXT
        self._pipes: dict[str, Pipe | None] = {self.own: self._loaded}

    @property
    def name(self) -> str:
        return type(self._loaded.call).__name__

    def find(self, kind: str) -> Pipe | None:
        """None where there is none of this kind."""
        if kind not in self._pipes:
            self._pipes[kind] = self._derive(kind) if self.own == TEXT else None
        return self._pipes[kind]

    def _derive(self, kind: str) -> Pipe | None:
        """By diffusers' names: FluxPipeline, FluxImg2ImgPipeline, FluxInpaintPipeline. Its own table of them
        imports every pipeline that there is."""
        import diffusers

        other = getattr(diffusers, self.name.removesuffix("Pipeline") + NAMES[kind], None)
        if other is None or (kind == MASK and not self._can_paint_anew()):
            return None
        parts = {**self._loaded.call.config, **self._loaded.call.components}
        names = inspect.signature(other.__init__).parameters
        derived = other(**{name: parts[name] for name in names if name in parts})
        derived.set_progress_bar_config(disable=True)
        return Pipe.described(derived)

    def _can_paint_anew(self) -> bool:
        """Stable Diffusion's pipelines for masks know networks of 4 numbers a place, and of 9 (with mask and
        picture)."""
        net = self._loaded.call.components.get("unet")
        return net is None or net.config.in_channels in UNETS_FOR_MASKS


def read_source(values: dict[str, Any], pipes: Pipes) -> SourcePicture:
    """Raises ValueError that names the input."""
    kind = MASK if values.get("mask") else IMAGE if values.get("image") else TEXT
    if kind == MASK and not values.get("image"):
        raise ValueError("mask: needs `image`, the picture that it is of")
    if (pipe := pipes.find(kind)) is None:
        raise ValueError(_refusal(kind, pipes))
    if kind == TEXT:
        return SourcePicture()
    mask = read_mask(values["mask"]) if kind == MASK else None
    strength = None if pipe.strength is None else values.get("strength", pipe.strength)
    return SourcePicture(kind, prepare_picture(values["image"]), mask, strength)


def _refusal(kind: str, pipes: Pipes) -> str:
    if pipes.own == TEXT:
        return f"{kind}: this model, a {pipes.name}, takes none"
    if pipes.own == MASK:
        return "mask: this model paints parts of a picture anew: give `image` and `mask`"
    if kind == MASK:
        return "mask: this model changes whole pictures: give `image` alone"
    return "image: this model changes pictures: give one"


def own_size(source: SourcePicture, scale: int, most: int) -> tuple[int, int]:
    """(height, width) of the request's picture in pixels, in whole multiples of `scale`. Raises ValueError
    for one that is too small to be drawn, or has a side of more than `most`."""
    if isinstance(source.picture, LargePicture):
        raise ValueError(f"image: has {source.picture.pixels} pixels: give `width` and `height` to draw in")
    width, height = source.picture.size
    if min(width, height) < scale or max(width, height) > most:
        raise ValueError(f"image: has {width} x {height} pixels: give `width` and `height` to draw in")
    return height // scale * scale, width // scale * scale


def picture_arguments(sources: Sequence[SourcePicture], height: int, width: int) -> dict[str, Any]:
    """What the pipeline gets of these requests, which are of one kind and strength; pictures are stretched to
    the size that is drawn."""
    first = sources[0]
    if first.kind == TEXT:
        return {}
    values: dict[str, Any] = {"image": [_fitted(opened(each.picture), height, width) for each in sources]}
    if first.kind == MASK:
        values["mask_image"] = [_fitted(each.mask, height, width) for each in sources]
    return values if first.strength is None else {**values, "strength": first.strength}


def _fitted(picture: Any, height: int, width: int) -> Any:
    from PIL import Image

    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS)
