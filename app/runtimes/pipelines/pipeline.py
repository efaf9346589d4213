"""Any other task of transformers: classification, NER, question answering, speech recognition, pictures, …
One schema each.

Files are read and texts measured beside the running batch; answers are made JSON, and pictures and sound
among them files.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Event, Finished, Log, ModelSpec, file_out
from app.runtimes import pictures, schema, sound, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.finite import refuse_not_finite
from app.runtimes.known_ids import KnownIds
from app.runtimes.pipelines.library_pipeline import MAIN, call_pipeline, load_pipeline
from app.runtimes.pipelines.pipeline_tasks import OWN_TASKS, TASKS
from app.runtimes.pipelines.speech import SpeechRecognition
from app.runtimes.pipelines.text_limits import TextLength, TextLimits

OWN = ("format",)  # inputs that are not the pipeline's but ours
RENAMED = {"labels": "candidate_labels"}
# Tasks that read a text as it is: what is longer than the model's limit is cut, and said.
ZERO_SHOT = "zero-shot-classification"
MEASURED = (
    "text-classification",
    ZERO_SHOT,
    "token-classification",
    "fill-mask",
    "feature-extraction",
    "summarization",
    "translation",
    "text2text-generation",
)
SPEECH = "automatic-speech-recognition"
TEXTS = ("text", "question", "context")
Call = Callable[[list[dict[str, Any]], dict[str, Any]], list[Any]]


class Pipeline(Runtime):
    """The version's task chooses the schema. Jobs that share their options share a batch; length is in tokens
    where the text is measured, else in characters."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="pipeline",
        description="Other tasks of transformers: " + ", ".join(TASKS) + ".",
        inputs={"": TASKS["text-classification"], **TASKS},
        outputs={"": {"title": "Output"}},
        streaming_classes=("WhisperForConditionalGeneration",),
        reads=(*weights.PRECISION, *weights.ACCELERATION, *weights.ADAPTERS),
    )

    def __init__(self, call: Call, net: Any, task: str, tokenizer: Any = None, rate: int = 0) -> None:
        refuse_not_finite(net)
        self._call, self._net = call, net
        self._task, self._rate = task, rate
        self._tokenizer = tokenizer
        self._speech: SpeechRecognition | None = None
        self._check: Callable[[dict[str, Any]], None] = lambda values: None
        self._known_ids = KnownIds(tokenizer, net) if tokenizer else None
        self._limits = TextLimits(tokenizer, net) if task in MEASURED else None

    @classmethod
    def load(cls, model: ModelSpec) -> "Pipeline":
        weights.model_folder(model)
        if model.task in OWN_TASKS:
            from app.runtimes.pipelines.own_tasks import CLASSES

            own = CLASSES[model.task].load(model)
            runtime = cls(lambda inputs, _: own.answer(inputs), own.net, model.task, own.tokenizer)
            runtime._check = getattr(own, "check", runtime._check)
            return runtime
        if model.task not in TASKS:
            raise ValueError(f"the task must be one of {', '.join(TASKS)}")
        pipe = load_pipeline(model)
        rate = getattr(pipe.feature_extractor, "sampling_rate", 16_000)
        runtime = cls(
            lambda inputs, options: call_pipeline(pipe, inputs, options),
            pipe.model,
            model.task,
            pipe.tokenizer,
            rate,
        )
        if model.task == SPEECH:
            runtime._speech = SpeechRecognition(pipe)
            runtime._check = runtime._speech.check
        return runtime

    def prepare(self, job: Job) -> None:
        values = schema.with_defaults(TASKS[self._task], job.input)
        self._check(values)
        whole = len(values.get("text", ""))
        if self._limits:
            values["text"] = self._limits.readable(values["text"])
        job.prepared = {**values, **self._read_files(values)}
        names = set(TASKS[self._task]["properties"]) - set(MAIN) - {"question", "context"}
        job.batch_key = repr(sorted((name, values[name]) for name in names if name in values))
        texts = [values[name] for name in TEXTS if name in values]
        if self._known_ids and self._known_ids.needs_check and texts:
            self._known_ids.check(self._tokenizer(texts, truncation=False, verbose=False)["input_ids"])
        if self._limits:
            job.prepared["length"] = self._measure(self._limits, values, whole)
            job.length = max(1, job.prepared["length"].read)
        else:
            job.length = max([1, *map(len, texts)])

    def _measure(self, limits: TextLimits, values: dict[str, Any], whole: int) -> TextLength:
        text = values["text"]
        ids = limits.token_ids(text)
        if self._task == "fill-mask":
            limits.check_mask(ids, is_more=len(text) < whole)
        spare = limits.label_tokens(values["labels"]) if self._task == ZERO_SHOT else 0
        return limits.length(ids, is_more=len(text) < whole, spare=spare)

    def _read_files(self, values: dict[str, Any]) -> dict[str, Any]:
        if "image" in values:
            return {"image": pictures.prepare_picture(values["image"])}
        if "audio" in values:
            samples = sound.read_sound(values["audio"], self._rate)
            return {"audio": {"raw": samples, "sampling_rate": self._rate}}
        return {}

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        if self._speech:
            yield from self._recognise_speech(self._speech, batch, feed)
            return
        names = set(TASKS[self._task]["properties"]) - {*MAIN, *OWN}
        options = {
            RENAMED.get(name, name): batch[0].prepared[name] for name in names if name in batch[0].prepared
        }
        answers = [answer for group in split(batch) for answer in self._call(group, options)]
        if len(answers) != len(batch):
            raise RuntimeError(f"the pipeline gave {len(answers)} answers to {len(batch)} inputs")
        for job, answer in zip(batch, answers, strict=True):
            length = job.prepared.get("length")
            if length and (line := length.log_line()):
                yield job.id, Log(line)
            yield job.id, Finished(Cleaner(job).clean(answer), length.metrics() if length else {})

    def _recognise_speech(
        self, speech: SpeechRecognition, batch: Sequence[Job], feed: Feed
    ) -> Iterator[tuple[str, Event]]:
        for job in batch:
            for event in speech.run(job, feed):
                if isinstance(event, Finished):
                    yield job.id, Finished(Cleaner(job).clean(event.output), event.metrics)
                else:
                    yield job.id, event
            feed.flush()

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


def split(batch: Sequence[Job]) -> Iterator[list[dict[str, Any]]]:
    """What the jobs have prepared, all at once; large pictures are read when it is their turn, each alone."""
    group: list[dict[str, Any]] = []
    for job in batch:
        if isinstance(job.prepared.get("image"), pictures.LargePicture):
            if group:
                yield group
            yield [{**job.prepared, "image": pictures.opened(job.prepared["image"])}]
            group = []
        else:
            group.append(job.prepared)
    if group:
        yield group


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
        form = self._job.prepared.get("format", "wav")
        sound.write_sound(file := self._file(form), value["audio"], int(value["sampling_rate"]), form)
        return file_out(file.name)
