"""Any other task of transformers: classification, NER, question answering, speech recognition, pictures, …
One schema each.

Files are read beside the running batch; answers are made JSON, and pictures and sound among them files.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec, file_out
from app.runtimes import media, schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.pipelines.pipeline_tasks import OWN_TASKS, TASKS

MAIN = ("text", "audio", "image")  # the input that a pipeline takes by position
SHOWS_PADDING = ("feature-extraction",)  # its answer has a row for every token, padding included
RENAMED = {"labels": "candidate_labels"}
Call = Callable[[list[dict[str, Any]], dict[str, Any]], list[Any]]


class Pipeline(Runtime):
    """The version's task chooses the schema. Jobs that share their options share a batch; length is in
    characters."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="pipeline",
        description="Other tasks of transformers: " + ", ".join(TASKS) + ".",
        inputs={"": TASKS["text-classification"], **TASKS},
        outputs={"": {"title": "Output"}},
        reads=(*weights.PRECISION, *weights.ACCELERATION),
    )

    def __init__(self, call: Call, net: Any, task: str, rate: int) -> None:
        self._call, self._net = call, net
        self._task, self._rate = task, rate

    @classmethod
    def load(cls, model: ModelSpec) -> "Pipeline":
        weights.model_folder(model)
        if model.task in OWN_TASKS:
            from app.runtimes.pipelines.own_tasks import CLASSES

            own = CLASSES[model.task].load(model)
            return cls(lambda inputs, _: own.answer(inputs), own.net, model.task, 0)
        if model.task not in TASKS:
            raise ValueError(f"the task must be one of {', '.join(TASKS)}")
        pipe = library_pipeline(model)
        rate = getattr(getattr(pipe, "feature_extractor", None), "sampling_rate", 16_000)
        return cls(lambda inputs, options: call_pipeline(pipe, inputs, options), pipe.model, model.task, rate)

    def prepare(self, job: Job) -> None:
        values = schema.with_defaults(TASKS[self._task], job.input)
        job.prepared = {**values, **self._read_files(values)}
        names = set(TASKS[self._task]["properties"]) - set(MAIN) - {"question", "context"}
        job.batch_key = repr(sorted((name, values[name]) for name in names if name in values))
        job.length = max([1, *(len(values[name]) for name in ("text", "context") if name in values)])

    def _read_files(self, values: dict[str, Any]) -> dict[str, Any]:
        if "image" in values:
            return {"image": media.read_picture(values["image"])}
        if "audio" in values:
            samples = media.read_wav(values["audio"], self._rate)
            # Other formats are left to transformers, which asks ffmpeg.
            return {} if samples is None else {"audio": {"raw": samples, "sampling_rate": self._rate}}
        return {}

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        names = set(TASKS[self._task]["properties"]) - set(MAIN)
        options = {
            RENAMED.get(name, name): batch[0].prepared[name] for name in names if name in batch[0].prepared
        }
        answers = self._call([job.prepared for job in batch], options)
        if len(answers) != len(batch):
            raise RuntimeError(f"the pipeline gave {len(answers)} answers to {len(batch)} inputs")
        for job, answer in zip(batch, answers, strict=True):
            yield job.id, Finished(Cleaner(job).clean(answer))

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


def library_pipeline(model: ModelSpec) -> Any:
    """transformers' own pipeline, from safetensors."""
    import transformers

    weights.silence_libraries()
    pipe = transformers.pipeline(
        model.task,
        model=str(weights.model_folder(model)),
        device=model.device,
        dtype=weights.torch_dtype(model),
        trust_remote_code=model.trust_remote_code,
        model_kwargs={"use_safetensors": True},
    )
    weights.accelerate(pipe.model.requires_grad_(False), model)
    return pipe


def call_pipeline(pipe: Any, inputs: list[dict[str, Any]], options: dict[str, Any]) -> list[Any]:
    """One call; as one batch where the model can pad, else one after the other."""
    tokenizer = getattr(pipe, "tokenizer", None)
    together = pipe.task not in SHOWS_PADDING and (tokenizer is None or tokenizer.pad_token_id is not None)
    values = [next(prepared[name] for name in MAIN if name in prepared) for prepared in inputs]
    if len(values) == 1:  # some pipelines unwrap the answer to a list of one
        return [pipe(values[0], **options)]
    return list(pipe(values, batch_size=len(values) if together else 1, **options))


class Cleaner:
    """Makes an answer JSON: numbers and lists of numpy and torch become plain, pictures and sound the job's
    files."""

    def __init__(self, job: Job) -> None:
        self._job, self._count = job, 0

    def clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "audio" in value and "sampling_rate" in value:
                return self._sound(value)
            return {str(name): self.clean(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(part) for part in value]
        if hasattr(value, "save") and hasattr(value, "getbbox"):
            return self._picture(value)
        return value.tolist() if hasattr(value, "tolist") else value

    def _file(self, ending: str) -> Path:
        self._count += 1
        return Path(self._job.folder) / f"output-{self._count - 1}.{ending}"

    def _picture(self, picture: Any) -> dict[str, str]:
        picture.save(file := self._file("png"), format="PNG")
        return file_out(file.name)

    def _sound(self, value: dict[str, Any]) -> dict[str, str]:
        media.write_wav(file := self._file("wav"), value["audio"], int(value["sampling_rate"]))
        return file_out(file.name)
