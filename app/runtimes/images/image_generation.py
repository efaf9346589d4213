"""Pictures from text, or from a picture and text, with any diffusers pipeline that takes a prompt. Reports
every step and can be stopped at each."""

import queue
import random
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Canceled, Event, Failed, Finished, Log, ModelSpec, Progress, file_out
from app.runtimes import adapters, schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.finite import NOT_FINITE, is_finite
from app.runtimes.images import source_pictures

MOST_PIXELS = 4096
SHARD = re.compile(r"-\d{5}-of-\d{5}")
# Pictures of one pass through the pipeline unless the version says otherwise: a request for 16 large ones
# must not need 16 times the memory of one, and a larger batch is hardly faster where a picture fills the
# device by itself.
AT_ONCE = 8
OWN_SIZE = "empty: the size of `image`, or else the model's own"
# The aliases are what clients of hosted image models send; Vercel's AI SDK always sends `num_outputs`.
INPUTS = schema.inputs(
    {
        "prompt": schema.text("What the picture shows.", max_length=10_000),
        "negative_prompt": schema.text("What it is not to show.", max_length=10_000, default=""),
        "image": schema.file("A picture to go on from: a URL or a data URI.", contentMediaType="image/*"),
        "mask": schema.file(
            "What of `image` is painted anew: white; or transparent, where the mask has transparent places.",
            contentMediaType="image/*",
        ),
        "strength": schema.number(
            "How much of `image` changes, 1: all; empty: the pipeline's own.",
            minimum=0,
            maximum=1,
            **schema.aliases("prompt_strength"),
        ),
        "width": schema.integer(f"In pixels; {OWN_SIZE}.", minimum=8, maximum=MOST_PIXELS),
        "height": schema.integer(f"In pixels; {OWN_SIZE}.", minimum=8, maximum=MOST_PIXELS),
        "steps": schema.integer(
            "Denoising steps; empty: the version's default.",
            minimum=1,
            maximum=500,
            **schema.aliases("num_inference_steps"),
        ),
        "guidance": schema.number(
            "How closely to follow the prompt; empty: the version's default.",
            minimum=0,
            maximum=50,
            **schema.aliases("guidance_scale"),
        ),
        "num_images": schema.integer(
            "How many pictures.", minimum=1, maximum=16, default=1, **schema.aliases("num_outputs")
        ),
        "seed": schema.SEED,
    },
    required=("prompt",),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to be drawn: the `number`th of its job."""

    job: Job
    number: int


class _BatchState:
    """Which jobs of a running batch have ended, and how many pictures the others still miss."""

    def __init__(self, batch: Sequence[Job], feed: Feed) -> None:
        self._batch, self._feed = batch, feed
        self._missing = {job.id: job.prepared["images"] for job in batch}

    def is_open(self, picture: Picture) -> bool:
        """Whether its job has not ended."""
        return bool(self._missing[picture.job.id])

    def report(self, step: int, part: int, parts: int) -> Iterator[tuple[str, Event]]:
        """After a step: the progress of every open job, or its end when it is canceled."""
        for job in self._batch:
            if not self._missing[job.id]:
                continue
            if self._feed.canceled(job.id):
                self._missing[job.id] = 0
                yield job.id, Canceled()
            else:
                steps = job.prepared["steps"]
                yield job.id, Progress(min(part * steps + step, parts * steps), parts * steps)

    def save(self, picture: Picture, image: Any) -> Iterator[tuple[str, Event]]:
        """Writes the picture's file, unless its job has ended; the last one of a job ends it, and so does one
        that is not finite."""
        job = picture.job
        if not self.is_open(picture):
            return
        if not is_finite(image):
            self._missing[job.id] = 0
            yield job.id, Failed(NOT_FINITE, metrics={"seed": job.prepared["seed"]})
            return
        drawn = as_picture(image)
        drawn.save(Path(job.folder) / f"output-{picture.number}.png", format="PNG")
        self._missing[job.id] -= 1
        if not self._missing[job.id]:
            files = [file_out(f"output-{number}.png") for number in range(job.prepared["images"])]
            yield job.id, Finished(files, {"seed": job.prepared["seed"], "steps": job.prepared["steps"]})


class ImageGeneration(Runtime):
    """Requests of one size, step count and guidance share a batch; each picture has its own generator, seeded
    with the request's seed + n, so the batch it runs in does not change it. Length is the number of pictures.
    """

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="image-generation",
        description="Makes pictures from text, and changes pictures (diffusers pipelines).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}},
        reads=(*weights.PRECISION, *weights.ADAPTERS),
        config={
            "default_steps": schema.integer("Steps of requests that do not say.", minimum=1, maximum=500),
            "default_guidance": schema.number("Guidance of requests that do not say.", minimum=0, maximum=50),
            "images_at_once": schema.integer(
                "Most pictures in one pass, for memory's sake.", minimum=1, maximum=512
            ),
        },
    )

    def __init__(self, pipe: Any, model: ModelSpec) -> None:
        self._pipe, self._model = pipe, model
        self._pipes = source_pictures.Pipes(pipe)
        self._scale = getattr(pipe, "vae_scale_factor", 1)
        self._height, self._width = own_size(pipe, self._scale)
        self._at_once = int(model.config.get("images_at_once", AT_ONCE))

    @classmethod
    def load(cls, model: ModelSpec) -> "ImageGeneration":
        import diffusers

        weights.silence_libraries()
        diffusers.logging.set_verbosity_error()
        diffusers.logging.disable_progress_bar()
        folder = weights.model_folder(model)
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            folder,
            variant=variant_of(folder),
            dtype=weights.torch_dtype(model),
            use_safetensors=True,
            **weights.loading_options(model),
        )
        pipe.to(model.device)
        if model.adapter:
            adapters.fuse_into_pipeline(pipe, Path(model.adapter))
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, model)

    def prepare(self, job: Job) -> None:
        values, config = schema.with_defaults(INPUTS, job.input), self._model.config
        source = source_pictures.read_source(values, self._pipes)
        width, height = self._size(values, source)
        if width % self._scale or height % self._scale:
            raise ValueError(f"width and height must be multiples of {self._scale}")
        job.prepared = {
            "width": width,
            "height": height,
            "steps": values.get("steps") or config.get("default_steps", 30),
            "guidance": values.get("guidance", config.get("default_guidance", 7.5)),
            "seed": values.get("seed", random.randrange(2**32)),
            "images": values["num_images"],
            "source": source,
        }
        if source.strength is not None and job.prepared["steps"] * source.strength < 1:
            raise ValueError(f"strength: of {job.prepared['steps']} steps it leaves none")
        job.length = job.prepared["images"]
        names = ("width", "height", "steps", "guidance")
        job.batch_key = (source.kind, source.strength, *(job.prepared[name] for name in names))

    def _size(self, values: dict[str, Any], source: source_pictures.SourcePicture) -> tuple[int, int]:
        """(width, height) in pixels."""
        width, height = values.get("width"), values.get("height")
        if width and height:
            return width, height
        own = (self._height, self._width)
        if source.kind != source_pictures.TEXT:
            own = source_pictures.own_size(source, self._scale, MOST_PIXELS)
        return width or own[1], height or own[0]

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        for job in batch:
            yield job.id, Log(f"Using seed: {job.prepared['seed']}\n")
        state = _BatchState(batch, feed)
        pictures = [Picture(job, number) for job in batch for number in range(job.prepared["images"])]
        parts = -(-len(pictures) // self._at_once)
        for part in range(parts):
            now = [
                picture
                for picture in pictures[part * self._at_once :][: self._at_once]
                if state.is_open(picture)
            ]
            for step, images in self._steps(now):
                yield from state.report(step, part, parts)
                if not any(map(state.is_open, now)):
                    break
                for picture, image in zip(now, images, strict=False):
                    yield from state.save(picture, image)

    def _steps(self, pictures: Sequence[Picture]) -> Iterator[tuple[int, list[Any]]]:
        """(number, nothing) after each step and at last (number, the images). Closing it stops the pipeline
        at a step.

        On a thread of its own, because the pipeline calls back and this must yield meanwhile.
        """
        steps: queue.SimpleQueue[tuple[int, list[Any]] | BaseException] = queue.SimpleQueue()
        stop = threading.Event()
        thread = threading.Thread(target=self._draw, args=(pictures, steps, stop), daemon=True)
        if pictures:
            thread.start()
        try:
            images: list[Any] = []
            while pictures and not images:
                if isinstance(item := steps.get(), BaseException):
                    raise item
                images = item[1]
                yield item
        finally:
            stop.set()
            if pictures:
                thread.join()

    def _draw(self, pictures: Sequence[Picture], steps: Any, stop: threading.Event) -> None:
        import torch

        torch.set_num_threads(max(1, self._model.threads))  # a setting of each thread

        def on_step(pipe: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            steps.put((step + 1, []))
            if stop.is_set():
                pipe._interrupt = True
            return tensors

        try:
            pipe = self._pipes.find(pictures[0].job.prepared["source"].kind)
            assert pipe is not None
            arguments = self._arguments(pictures)
            arguments = {name: value for name, value in arguments.items() if name in pipe.takes}
            with torch.inference_mode():
                answer = pipe.call(**arguments, callback_on_step_end=on_step)
            steps.put((pictures[0].job.prepared["steps"], list(answer.images)))
        except BaseException as error:  # noqa: BLE001 - passed on to the batch thread, which raises it
            steps.put(error)

    def _arguments(self, pictures: Sequence[Picture]) -> dict[str, Any]:
        """What the requests say, by the names that pipelines have for it: some know no negative prompt, some
        no guidance."""
        import torch

        first = pictures[0].job.prepared
        seeds = [picture.job.prepared["seed"] + picture.number for picture in pictures]
        sources = [picture.job.prepared["source"] for picture in pictures]
        return {
            "prompt": [picture.job.input["prompt"] for picture in pictures],
            "negative_prompt": [picture.job.input.get("negative_prompt") or "" for picture in pictures],
            "width": first["width"],
            "height": first["height"],
            "num_inference_steps": first["steps"],
            "guidance_scale": first["guidance"],
            "output_type": "np",  # as pictures, NaN would be black
            "generator": [torch.Generator(self._model.device).manual_seed(seed) for seed in seeds],
            **source_pictures.picture_arguments(sources, first["height"], first["width"]),
        }

    def bytes(self) -> int:
        parts = [part for part in self._pipe.components.values() if hasattr(part, "parameters")]
        return sum(weights.count_bytes(part) for part in parts)


def variant_of(folder: Path) -> str | None:
    """The name of the weights' precision in their files' names (`model.fp16.safetensors`), where a part of
    the pipeline has no other weights; else None."""
    named: dict[Path, set[str]] = {}
    for file in folder.glob("*/*.safetensors"):
        words = SHARD.sub("", file.name.removesuffix(".safetensors")).split(".")
        named.setdefault(file.parent, set()).add(words[1] if len(words) > 1 else "")
    return next((min(variants) for variants in named.values() if "" not in variants), None)


def as_picture(image: Any) -> Any:
    """A drawn picture, from what the pipeline gives: (height, width, channels) in 0…1."""
    from diffusers import DiffusionPipeline

    return image if hasattr(image, "save") else DiffusionPipeline.numpy_to_pil(image)[0]


def own_size(pipe: Any, scale: int) -> tuple[int, int]:
    """(height, width) in pixels that the model was made for."""
    net = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    size = getattr(net.config, "sample_size", None) if net is not None else None
    size = size or getattr(pipe, "default_sample_size", None) or 64
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height * scale, width * scale
