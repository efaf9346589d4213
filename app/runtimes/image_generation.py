"""Pictures from text with any diffusers pipeline that takes a prompt. Says every step, can be stopped at each."""

import queue
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Canceled, Event, Finished, Log, ModelSpec, Progress, file_out
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec

MOST_PIXELS = 4096
INPUTS = schema.inputs(
    {
        "prompt": schema.text("What the picture shows.", max_length=10_000),
        "negative_prompt": schema.text("What it is not to show.", max_length=10_000, default=""),
        "width": schema.integer("In pixels; empty: the model's own size.", minimum=8, maximum=MOST_PIXELS),
        "height": schema.integer("In pixels; empty: the model's own size.", minimum=8, maximum=MOST_PIXELS),
        "steps": schema.integer("Denoising steps; empty: the version's default.", minimum=1, maximum=500),
        "guidance": schema.number("How closely to follow the prompt; empty: the version's default.", minimum=0, maximum=50),
        "num_images": schema.integer("How many pictures.", minimum=1, maximum=16, default=1),
        "seed": schema.SEED,
    },
    required=("prompt",),
)


class ImageGeneration(Runtime):
    """Requests of one size, step count and guidance share a batch; each picture has its own generator, so the batch it
    runs in does not change it."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="image-generation",
        description="Makes pictures from text (diffusers pipelines).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}},
        config={
            **weights.CONFIG,
            "default_steps": schema.integer("Steps when none are asked for.", minimum=1, maximum=500),
            "default_guidance": schema.number("Guidance when none is asked for.", minimum=0, maximum=50),
        },
    )

    def __init__(self, pipe: Any, model: ModelSpec) -> None:
        self._pipe, self._model = pipe, model
        net = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        scale = getattr(pipe, "vae_scale_factor", 8)
        size = getattr(net.config, "sample_size", 64) if net is not None else 64
        self._height, self._width = [side * scale for side in (size if isinstance(size, list | tuple) else (size, size))]
        self._scale = scale

    @classmethod
    def load(cls, model: ModelSpec) -> "ImageGeneration":
        import diffusers

        weights.quieten()
        diffusers.logging.set_verbosity_error()
        diffusers.logging.disable_progress_bar()
        folder = weights.folder_of(model)
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            folder, dtype=weights.dtype_of(model), use_safetensors=True, local_files_only=True
        )
        pipe.to(model.device)
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe, model)

    def prepare(self, job: Job) -> None:
        given, config = job.input, self._model.config
        width, height = given.get("width") or self._width, given.get("height") or self._height
        if width % self._scale or height % self._scale:
            raise ValueError(f"width and height must be multiples of {self._scale}")
        seed = given.get("seed")
        job.prepared = {
            "width": width,
            "height": height,
            "steps": given.get("steps") or config.get("default_steps", 30),
            "guidance": given.get("guidance", config.get("default_guidance", 7.5)),
            "seed": random.randrange(2**32) if seed is None else seed,
            "images": given.get("num_images", 1),
        }
        job.length = job.prepared["images"]
        job.batch_key = f"{width}x{height}/{job.prepared['steps']}/{job.prepared['guidance']}"

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        for job in batch:
            yield job.id, Log(f"Using seed: {job.prepared['seed']}\n")
        pictures: list[Any] = []
        gone: set[str] = set()
        steps: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()
        thread = threading.Thread(target=self._draw, args=(batch, pictures, steps, stop), daemon=True)
        thread.start()
        while isinstance(step := steps.get(), int):
            for job in batch:
                if job.id in gone:
                    continue
                if feed.canceled(job.id):
                    gone.add(job.id)
                    yield job.id, Canceled()
                else:
                    yield job.id, Progress(step, job.prepared["steps"])
            if len(gone) == len(batch):
                stop.set()
        thread.join()
        if isinstance(step, BaseException):
            raise step
        yield from self._save([job for job in batch], pictures, gone)

    def _save(self, batch: Sequence[Job], pictures: list[Any], gone: set[str]) -> Iterator[tuple[str, Event]]:
        at = 0
        for job in batch:
            own = pictures[at : at + job.prepared["images"]]
            at += job.prepared["images"]
            if job.id in gone:
                continue
            names = [f"output-{n}.png" for n in range(len(own))]
            for name, picture in zip(names, own, strict=True):
                picture.save(Path(job.folder) / name, format="PNG")
            metrics = {"seed": job.prepared["seed"], "steps": job.prepared["steps"]}
            yield job.id, Finished([file_out(name) for name in names], metrics)

    def _draw(self, batch: Sequence[Job], pictures: list[Any], steps: Any, stop: threading.Event) -> None:
        """On a thread of its own, because the pipeline calls back and `run` must yield meanwhile."""
        import torch

        torch.set_num_threads(self._model.threads)  # a setting of each thread
        try:
            first = batch[0].prepared
            texts = [
                (job.input["prompt"], job.input.get("negative_prompt") or "")
                for job in batch
                for _ in range(job.prepared["images"])
            ]
            seeds = [job.prepared["seed"] + n for job in batch for n in range(job.prepared["images"])]
            generators = [torch.Generator(self._model.device).manual_seed(seed) for seed in seeds]

            def on_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                steps.put(step + 1)
                if stop.is_set():
                    pipe._interrupt = True
                return tensors

            with torch.inference_mode():
                answer = self._pipe(
                    prompt=[text for text, _ in texts], negative_prompt=[text for _, text in texts],
                    width=first["width"], height=first["height"], num_inference_steps=first["steps"],
                    guidance_scale=first["guidance"], generator=generators, callback_on_step_end=on_step,
                )  # fmt: skip
            pictures.extend(answer.images)
            steps.put(None)
        except BaseException as error:
            steps.put(error)

    def bytes(self) -> int:
        parts = [part for part in self._pipe.components.values() if hasattr(part, "parameters")]
        return sum(weights.size_of(part) for part in parts)
