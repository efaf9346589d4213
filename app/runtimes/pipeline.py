"""Any other task of transformers' pipelines: classification, NER, question answering, speech recognition, images …"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.schema import Schema

TEXT = schema.inputs({"text": schema.text("The text.")}, required=("text",))
TOP_K = schema.integer("At most this many labels.", minimum=1, maximum=1_000, default=5)
LABELS = schema.array({"type": "string", "maxLength": 1_000}, "The labels to choose from.", max_items=500)
IMAGE = schema.file("The picture: a URL or a data URI.")
AUDIO = schema.file("The recording: a URL or a data URI.")

TASKS: dict[str, Schema] = {
    "text-classification": schema.inputs({"text": schema.text("The text."), "top_k": TOP_K}, required=("text",)),
    "zero-shot-classification": schema.inputs(
        {
            "text": schema.text("The text."),
            "labels": LABELS,
            "multi_label": schema.boolean("Several may be true.", default=False),
        },
        required=("text", "labels"),
    ),
    "token-classification": TEXT,
    "fill-mask": schema.inputs({"text": schema.text("A text with the model's mask token."), "top_k": TOP_K}, required=("text",)),
    "question-answering": schema.inputs(
        {"question": schema.text("The question."), "context": schema.text("The text that holds the answer.")},
        required=("question", "context"),
    ),
    "feature-extraction": TEXT,
    "automatic-speech-recognition": schema.inputs({"audio": AUDIO}, required=("audio",)),
    "audio-classification": schema.inputs({"audio": AUDIO, "top_k": TOP_K}, required=("audio",)),
    "image-classification": schema.inputs({"image": IMAGE, "top_k": TOP_K}, required=("image",)),
    "object-detection": schema.inputs({"image": IMAGE}, required=("image",)),
    "image-to-text": schema.inputs({"image": IMAGE}, required=("image",)),
    "zero-shot-image-classification": schema.inputs({"image": IMAGE, "labels": LABELS}, required=("image", "labels")),
    "depth-estimation": schema.inputs({"image": IMAGE}, required=("image",)),
}
OPTIONS = ("top_k", "multi_label")
FIRST_INPUT = ("text", "audio", "image")


class Pipeline(Runtime):
    """The version's task chooses the schema. One call for the works of a batch that share their options."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="pipeline",
        description="Other tasks of transformers: " + ", ".join(TASKS) + ".",
        inputs={"": TEXT, **TASKS},
        outputs={"": {"title": "Output"}},
        config=weights.CONFIG,
    )

    def __init__(self, call: Callable[..., Any], net: Any, task: str) -> None:
        self._call, self._net, self._task = call, net, task

    @classmethod
    def load(cls, model: ModelSpec) -> "Pipeline":
        import transformers

        weights.quieten()
        if model.task not in TASKS:
            raise ValueError(f"the task must be one of {', '.join(TASKS)}")
        folder = weights.folder_of(model)
        call = transformers.pipeline(
            model.task, model=str(folder), device=model.device, dtype=weights.dtype_of(model),
            trust_remote_code=model.trust_remote_code, model_kwargs={"use_safetensors": True},
        )  # fmt: skip
        return cls(call, call.model, model.task)

    def prepare(self, job: Job) -> None:
        options = {name: job.input[name] for name in OPTIONS if job.input.get(name) is not None}
        if "labels" in job.input:
            options["candidate_labels"] = tuple(job.input["labels"])
        job.prepared = options
        job.batch_key = repr(sorted(options.items()))
        job.length = max((len(value) for value in job.input.values() if isinstance(value, str)), default=1)

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        options = {name: list(value) if isinstance(value, tuple) else value for name, value in batch[0].prepared.items()}
        if self._task == "question-answering":
            answers = [self._call(question=job.input["question"], context=job.input["context"]) for job in batch]
        else:
            given = [next(job.input[name] for name in FIRST_INPUT if name in job.input) for job in batch]
            answers = list(self._call(given, **options))
        for job, answer in zip(batch, answers, strict=True):
            yield job.id, Finished(clean(answer))

    def bytes(self) -> int:
        return weights.size_of(self._net)


def clean(value: Any) -> Any:
    """Numbers and lists of numpy and torch as plain JSON; pictures are left out."""
    if isinstance(value, dict):
        return {str(name): clean(part) for name, part in value.items() if not hasattr(part, "save")}
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value
