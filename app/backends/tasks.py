"""The tasks that backends run, each with the schemas of its input and output: the same names as the runtimes
of this platform's own devices have, so that every edge serves both."""

from typing import Any

from app.domain.backend_choice import STRATEGIES
from app.domain.backends import CONDITION, RUNTIME

Schema = dict[str, Any]

TEXT_GENERATION = "text-generation"
EMBEDDING, PAIR_SCORING = "embedding", "pair-scoring"
LONGEST_TEXT = 1_000_000
MOST_NEW_TOKENS = 1_000_000
MOST_TEXTS = 2_048
TEXT: Schema = {"type": "string", "maxLength": LONGEST_TEXT}


def _inputs(properties: dict[str, Schema], **more: Any) -> Schema:
    ordered = {
        name: {"title": name.replace("_", " ").capitalize(), "x-order": order, **schema}
        for order, (name, schema) in enumerate(properties.items())
    }
    return {"type": "object", "title": "Input", "properties": ordered, **more}


def _number(description: str, minimum: float, maximum: float, kind: str = "number") -> Schema:
    return {"type": kind, "minimum": minimum, "maximum": maximum, "description": description}


MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant", "tool"]},
        "content": TEXT,
    },
    "required": ["role"],
}
_GENERATION = _inputs(
    {
        "prompt": {**TEXT, "description": "Text to continue. Give this or `messages`."},
        "messages": {
            "type": "array",
            "items": MESSAGE,
            "maxItems": 1_000,
            "description": "A conversation to continue.",
        },
        "max_new_tokens": _number(
            "At most this many tokens; left out: as the backend does.", 1, MOST_NEW_TOKENS, "integer"
        ),
        "temperature": _number("0: always the likeliest token; higher: more surprising.", 0, 5),
        "top_p": _number("Choose among the likeliest tokens that make up this probability.", 0, 1),
        "stop": {
            "type": "array",
            "items": {"type": "string", "maxLength": 1_000},
            "maxItems": 16,
            "description": "End before any of these.",
        },
        "seed": {
            **_number("Same seed and same input give the same output.", 0, 2**31, "integer"),
            "nullable": True,
        },
        "presence_penalty": _number("Above 0: fewer tokens that were there already.", -2, 2),
        "frequency_penalty": _number("Above 0: fewer tokens that were there often.", -2, 2),
        "tools": {"type": "array", "items": {"type": "object"}, "maxItems": 128, "description": "Functions."},
        "tool_choice": {"type": "string", "maxLength": 200, "description": "`auto`, `required`, or a name."},
        "parallel_tool_calls": {"type": "boolean", "description": "False: one call at most."},
        "json_schema": {"type": "object", "description": "What the answer must be."},
    },
    oneOf=[{"required": ["prompt"]}, {"required": ["messages"]}],
)
_EMBEDDING = _inputs(
    {
        "text": {
            "description": "A text, or a list of texts, to embed.",
            "anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_TEXTS}],
        }
    },
    required=["text"],
)
_PAIR_SCORING = _inputs(
    {
        "query": {**TEXT, "description": "The text that every one of `texts` is scored against."},
        "texts": {
            "type": "array",
            "items": TEXT,
            "minItems": 1,
            "maxItems": MOST_TEXTS,
            "description": "Texts to score against `query`.",
        },
        "raw_scores": {
            "type": "boolean",
            "default": False,
            "description": "The model's logits as they are, where the backend can give them.",
        },
    },
    required=["query", "texts"],
)
_CHUNKS: Schema = {
    "type": "array",
    "title": "Output",
    "items": {},
    "x-cog-array-type": "iterator",
    "x-cog-array-display": "concatenate",
}
_VECTOR: Schema = {"type": "array", "items": {"type": "number"}}

INPUTS: dict[str, Schema] = {
    TEXT_GENERATION: _GENERATION,
    EMBEDDING: _EMBEDDING,
    PAIR_SCORING: _PAIR_SCORING,
}
OUTPUTS: dict[str, Schema] = {
    TEXT_GENERATION: _CHUNKS,
    EMBEDDING: {"title": "Output", "anyOf": [_VECTOR, {"type": "array", "items": _VECTOR}]},
    PAIR_SCORING: {"title": "Output", "type": "array", "items": {"type": "number"}},
}
STREAMING = (TEXT_GENERATION,)

# As a runtime's spec (runtimes/base.py): what a version of it may say.
SPEC: dict[str, Any] = {
    "name": RUNTIME,
    "description": "Runs on a backend: a server of models elsewhere.",
    "inputs": INPUTS,
    "outputs": OUTPUTS,
    "config": {
        "backends": {
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 64},
                    "model": {"type": "string", "maxLength": 200},
                    "weight": {"type": "number", "minimum": 0.001, "maximum": 1_000},
                    "only_when": {"type": "string", "maxLength": 100, "pattern": CONDITION},
                },
            },
            "description": "The backends that it may run on. Default: that of its source.",
        },
        "strategy": {
            "type": "string",
            "enum": list(STRATEGIES),
            "description": "How one of them is chosen for each prediction. Default: failover.",
        },
        "request_routing": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "strategies": {"type": "array", "maxItems": 8, "items": {"enum": list(STRATEGIES)}},
                "backends": {"type": "boolean"},
            },
            "description": "What a request may choose by its `routing`: these strategies, and which of the"
            " backends. Default: nothing.",
        },
    },
    "reads": [],
}


def infer_task(name: str) -> str:
    """What a model is for, by its name, where its server does not say."""
    lower = name.lower()
    if "rerank" in lower or "cross-encoder" in lower:
        return PAIR_SCORING
    marks = ("embed", "bge-", "e5-", "minilm", "gte-", "sentence-", "nomic-", "-e5")
    return EMBEDDING if any(mark in lower for mark in marks) else TEXT_GENERATION
