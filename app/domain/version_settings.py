"""The settings of a version: every key of its `config` that is not one runtime's own, in one table.

Validation, the engine, the worker, the bench and docs/reference/version-settings.md read this table, so a
key has the same bounds and the same default everywhere. Knows no runtime: a runtime declares in its spec's
`reads` which of the settings with `read_by` RUNTIME it reads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.routing import STRATEGIES

Schema = dict[str, Any]

AUTO = "auto"
# Who reads a setting.
ROUTING = "routing"
WORKER = "worker"
ENGINE = "engine"
RUNTIME = "runtime"
# Who may set it: the version's owner, in its `config`; a deployment's owner, by its `hardware`; whoever makes
# a prediction, for that one; the operator, for every version that does not say (`platform_setting`).
OWNER = "owner"
DEPLOYMENT = "deployment"
CALLER = "caller"
OPERATOR = "operator"

ENGINES = (AUTO, "torch", "onnxruntime", "openvino")
DTYPES = ("float32", "bfloat16", "float16", AUTO)

_DEVICE: Schema = {"type": "string", "maxLength": 128}
_PLACE: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "device": _DEVICE,
        "memory_bytes": {"type": "integer", "minimum": 0, "maximum": 2**50},
    },
}


@dataclass(frozen=True, slots=True)
class Reserved:
    """Values for administrators only: which (for a value that fits the schema), how they are called in the
    papers, and why, as the end of a sentence."""

    includes: Callable[[Any], bool]
    values: str
    reason: str


@dataclass(frozen=True, slots=True)
class VersionSetting:
    """One key of a version's `config`. `schema` is the JSON Schema of its value, without a description;
    `default` is what counts where the key is absent (None: the platform's own); `platform_setting` is the
    field of app/settings.py by which the operator sets it for every version that does not say. `reserved`:
    the values that only administrators may give it."""

    name: str
    schema: Schema
    default: Any
    read_by: str
    description: str
    set_by: tuple[str, ...] = (OWNER,)
    platform_setting: str = ""
    reserved: Reserved | None = None

    @property
    def number(self) -> Schema:
        """The schema of its values that are numbers. KeyError where it has none."""
        choices = self.schema.get("anyOf", [self.schema])
        return next(choice for choice in choices if choice["type"] in ("integer", "number"))


def _number(kind: str, minimum: float, maximum: float) -> Schema:
    return {"type": kind, "minimum": minimum, "maximum": maximum}


def _number_or_auto(kind: str, minimum: float, maximum: float) -> Schema:
    return {"anyOf": [_number(kind, minimum, maximum), {"type": "string", "enum": [AUTO]}]}


_PLACEMENT = (
    VersionSetting(
        "device",
        _DEVICE,
        AUTO,
        ROUTING,
        "Runs only on this device class (`cpu`, `cuda`, …), device (`cuda:1`) or, where an administrator says"
        " so, one worker (`cuda:1@host`); `auto`: anywhere.",
        (OWNER, DEPLOYMENT),
    ),
    VersionSetting(
        "require",
        _PLACE,
        {},
        ROUTING,
        "Runs only on a device with all of this: `device`, which goes before the setting of that name, and"
        " `memory_bytes`.",
    ),
    VersionSetting(
        "prefer", _PLACE, {}, ROUTING, "Runs on such a device where one is alive and has a free slot."
    ),
    VersionSetting(
        "routing",
        {"type": "string", "enum": list(STRATEGIES)},
        None,
        ROUTING,
        "How a worker is chosen.",
        (OWNER, OPERATOR),
        "routing_strategy",
    ),
)
_LIFE = (
    VersionSetting(
        "timeout",
        _number("number", 0, 86_400),
        None,
        WORKER,
        "Longest run of one prediction, in seconds; 0: the platform's. A prediction's own `timeout` counts"
        " where it is shorter.",
        (OWNER, CALLER, OPERATOR),
        "run_timeout_seconds",
    ),
    VersionSetting(
        "prefetch",
        {"type": "boolean"},
        False,
        WORKER,
        "Workers load it when they start, while it is its model's newest version, where it may run there.",
        (OWNER, OPERATOR),
        "prefetch_models",
        Reserved(bool, "`true`", "every worker loads it at each start"),
    ),
    VersionSetting(
        "pin",
        {"type": "boolean"},
        False,
        ENGINE,
        "Once loaded, never evicted or unloaded for idleness.",
        reserved=Reserved(bool, "`true`", "a pinned model keeps its memory from everybody else's"),
    ),
    VersionSetting(
        "keep_alive",
        _number("number", -1, 2**31),
        None,
        ENGINE,
        "Unload after so many idle seconds; 0: as soon as nothing waits, -1: never.",
        (OWNER, OPERATOR),
        "model_idle_seconds",
        Reserved(
            lambda seconds: seconds < 0, "below 0", "such a model keeps its memory from everybody else's"
        ),
    ),
)
_BATCHING = (
    VersionSetting(
        "max_batch_size",
        _number_or_auto("integer", 1, 4_096),
        AUTO,
        ENGINE,
        "Most predictions in one batch; `auto`: 32, or what the measured cost of a batch allows.",
    ),
    VersionSetting(
        "max_batch_tokens",
        _number_or_auto("integer", 0, 2**24),
        AUTO,
        ENGINE,
        "Most tokens in one batch, padding included; 0: no limit; `auto`: no limit, or what the measured cost"
        " of a batch allows.",
    ),
    VersionSetting(
        "max_wait_ms",
        _number_or_auto("number", 0, 60_000),
        AUTO,
        ENGINE,
        "Wait so many milliseconds for a fuller batch; `auto`: 0.",
    ),
)
_ADAPTERS = (
    VersionSetting(
        "base_model",
        {"type": "string", "maxLength": 600},
        "",
        RUNTIME,
        "Of an adapter (LoRA and its kin): the model that it is merged into when it is loaded, as"
        " `path:FOLDER`, `hf:org/name@revision` or `owner/name` of a model here. Default: the one that the"
        " adapter's files name.",
    ),
)
_PRECISION = (
    VersionSetting(
        "dtype",
        {"type": "string", "enum": list(DTYPES)},
        AUTO,
        RUNTIME,
        "Precision of the weights; `auto`: half where the device is faster with it and the answers agree;"
        " where a runtime does not compare them, half on accelerators. Text generation on a processor stays"
        " as its weights were saved.",
    ),
    VersionSetting(
        "torch_compile",
        {"type": "boolean"},
        False,
        RUNTIME,
        "Compile with torch.compile: slow first runs, faster later ones.",
    ),
    VersionSetting(
        "fused",
        {"type": "boolean"},
        True,
        RUNTIME,
        "On a CPU, run encoders of BERT's kind without padding; false: as transformers does.",
    ),
    VersionSetting(
        "engine",
        {"type": "string", "enum": list(ENGINES)},
        AUTO,
        RUNTIME,
        "What runs an encoder on a processor; `auto`: the fastest of those installed whose answers agree with"
        " torch's in 32 bits, tried when it is first loaded on a worker.",
    ),
    VersionSetting(
        "least_agreement",
        _number("number", 0, 1),
        None,
        RUNTIME,
        "How far an engine's or a precision's answers must agree with torch's in 32 bits: the least cosine of"
        " vectors, 1 minus the largest difference of scores. Default: 0.999 and 0.99.",
    ),
)

SETTINGS: dict[str, VersionSetting] = {
    setting.name: setting for setting in (*_PLACEMENT, *_LIFE, *_BATCHING, *_ADAPTERS, *_PRECISION)
}
BATCHING: tuple[str, ...] = tuple(setting.name for setting in _BATCHING)

# What a version's `input_schema` may say about an input of its runtime. No `pattern`: a caller's regular
# expression could stop the API for minutes.
INPUT_KEYWORDS = (
    "title",
    "description",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "enum",
    "x-order",
    "deprecated",
    "examples",
    "type",
    "format",
    "items",
    "nullable",
)


def value_of(config: Mapping[str, Any], name: str) -> Any:
    """The value that counts in a version's `config`: the default where the key is absent or null. KeyError
    for a name that is not in the table."""
    value = config.get(name)
    return SETTINGS[name].default if value is None else value


def number_of(config: Mapping[str, Any], name: str) -> float | None:
    """The number that a version's `config` gives for this setting; None for `auto`, or where it leaves the
    choice to the platform."""
    value = value_of(config, name)
    return None if value is None or value == AUTO else float(value)


def schemas_for(reads: Iterable[str]) -> dict[str, Schema]:
    """The schemas of what the platform reads of every version's `config`, and of what its runtime `reads`."""
    names = set(reads)
    return {
        name: setting.schema
        for name, setting in SETTINGS.items()
        if setting.read_by != RUNTIME or name in names
    }


def is_left_to_runtimes(name: str) -> bool:
    """Whether it is a setting that only those runtimes read that say so."""
    return name in SETTINGS and SETTINGS[name].read_by == RUNTIME
