"""The tasks of the runtime `pipeline`: what each takes. Imports no library; knows not how a task is run."""

from app.runtimes import schema
from app.runtimes.schema import Schema

TOP_K = schema.integer("At most this many labels.", minimum=1, maximum=1_000, default=5)
LABELS = schema.array(
    {"type": "string", "maxLength": 1_000}, "The labels to choose from.", max_items=500, minItems=1
)
NEW_TOKENS = schema.integer("At most this many tokens of answer.", minimum=1, maximum=4_096, default=128)
THRESHOLD = schema.number("Leave out what is less certain than this.", minimum=0, maximum=1, default=0.5)
IMAGE = {"image": schema.file("The picture: a URL or a data URI.", contentMediaType="image/*")}
AUDIO = {"audio": schema.file("The recording: a URL or a data URI.")}
TEXT = {"text": schema.text("The text.")}


def _needs(*groups: dict[str, Schema], **more: Schema) -> Schema:
    """A schema that requires the properties of the groups and allows the others."""
    required = {name: prop for group in groups for name, prop in group.items()}
    return schema.inputs({**required, **more}, required=tuple(required))


# Run by transformers' own pipelines.
LIBRARY_TASKS: dict[str, Schema] = {
    "text-classification": _needs(TEXT, top_k=TOP_K),
    "zero-shot-classification": _needs(
        TEXT, {"labels": LABELS}, multi_label=schema.boolean("Several may be true.", default=False)
    ),
    "token-classification": _needs(
        TEXT,
        aggregation_strategy={
            "type": "string",
            "enum": ["none", "simple", "first", "average", "max"],
            "description": "How tokens of one name are put together; none: every token by itself.",
            "default": "simple",
        },
    ),
    "fill-mask": _needs({"text": schema.text("A text with the model's mask token.")}, top_k=TOP_K),
    "feature-extraction": _needs(TEXT),
    "automatic-speech-recognition": _needs(
        AUDIO,
        timestamps={
            "type": "string",
            "enum": ["segment", "word"],
            "description": "With what was said when, in `chunks`.",
            "nullable": True,
        },
        language=schema.text(
            "What is spoken, by its name or code; default: the model finds out.", max_length=50, nullable=True
        ),
        task={
            "type": "string",
            "enum": ["transcribe", "translate"],
            "description": "translate: the text in English.",
            "nullable": True,
        },
    ),
    "audio-classification": _needs(AUDIO, top_k=TOP_K),
    "image-classification": _needs(IMAGE, top_k=TOP_K),
    "image-segmentation": _needs(IMAGE, threshold=THRESHOLD),
    "object-detection": _needs(IMAGE, threshold=THRESHOLD),
    "depth-estimation": _needs(IMAGE),
    "zero-shot-image-classification": _needs(IMAGE, {"labels": LABELS}),
    "text-to-audio": _needs(
        {"text": schema.text("The text to speak.", max_length=100_000)},
        format={
            "type": "string",
            "enum": ["wav", "mp3", "opus", "aac", "flac"],
            "description": "How the sound is written.",
            "default": "wav",
        },
    ),
}
# Run by `own_tasks`: transformers 5 has no pipelines for them any more.
OWN_TASKS: dict[str, Schema] = {
    "question-answering": _needs(
        {"question": schema.text("The question."), "context": schema.text("The text that holds the answer.")},
        top_k=schema.integer(
            "At most this many answers; 1: the answer itself.", minimum=1, maximum=100, default=1
        ),
    ),
    "summarization": _needs({"text": schema.text("The text to be summed up.")}, max_new_tokens=NEW_TOKENS),
    "translation": _needs(
        {"text": schema.text("The text to translate.")},
        max_new_tokens=NEW_TOKENS,
        source_language=schema.text(
            "The text's, by the model's own code (en, eng_Latn, …); default: the model's.",
            max_length=50,
            nullable=True,
        ),
        target_language=schema.text(
            "What it is translated into, by the model's own code; default: the model's.",
            max_length=50,
            nullable=True,
        ),
    ),
    "text2text-generation": _needs(TEXT, max_new_tokens=NEW_TOKENS),
    "image-to-text": _needs(IMAGE, max_new_tokens=NEW_TOKENS),
}
TASKS = {**LIBRARY_TASKS, **OWN_TASKS}
