"""An experiment: what is sent to which model, how, and how often. Read from YAML or TOML; a wrong field is
named.

Knows files and their fields. Does not know how anything is sent or measured.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.bench.input_sources import Inputs
from app.domain import version_settings
from app.shipped import locate_shipped

SHIPPED = locate_shipped("experiments")
DEFAULT_SECONDS = 10.0
DEFAULT_CONCURRENCY = [1, 16, 64]
MOST_AT_ONCE = 4_096
MODEL = re.compile(r"[^/\s:]+/[^/\s:]+(:[0-9a-f]{64})?")

Preset = Literal["latency", "balanced", "throughput"]
Auto = Literal["auto"]
Level = Annotated[int, Field(ge=1, le=MOST_AT_ONCE)]
Rate = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]


# In place of pydantic's own words.
SENTENCES = {
    "extra_forbidden": "is not a field here",
    "missing": "is required",
    "string_pattern_mismatch": "has not the form that is wanted",
}


class BadExperiment(Exception):
    """The file cannot be used; the text says why, one line for each field."""


def _bounds(setting: str) -> Any:
    """The bounds of a version setting's numbers."""
    number = version_settings.SETTINGS[setting].number
    return Field(ge=number["minimum"], le=number["maximum"])


class Batching(BaseModel):
    """A version's batching policy. What is left out stays as the version has it."""

    model_config = ConfigDict(extra="forbid")

    max_batch_size: Auto | Annotated[int, _bounds("max_batch_size")] | None = None
    max_batch_tokens: Auto | Annotated[int, _bounds("max_batch_tokens")] | None = None
    max_wait_ms: Auto | Annotated[float, _bounds("max_wait_ms")] | None = None

    def config(self) -> dict[str, Any]:
        """As keys of a version's configuration."""
        return self.model_dump(exclude_none=True)


# What a preset says where the experiment itself says nothing.
PRESETS: dict[str, dict[str, Any]] = {
    "latency": {"batching": {"max_batch_size": 4, "max_wait_ms": 0}, "concurrency": [1, 4, 16]},
    "balanced": {
        "batching": {"max_batch_size": "auto", "max_batch_tokens": "auto", "max_wait_ms": "auto"},
        "concurrency": [1, 16, 64],
    },
    "throughput": {"batching": {"max_batch_size": 64, "max_wait_ms": 5}, "concurrency": [64, 128, 256]},
}


class Experiment(BaseModel):
    """Times in seconds. Closed loop: so many callers, each sends when it has its answer. Open loop: so many a
    second."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=64, pattern=r"^[A-Za-z0-9._-]*$")
    description: str = Field("", max_length=2_000)
    model: str = Field(max_length=300)
    preset: Preset | None = None
    batching: Batching = Field(default_factory=Batching)
    config: dict[str, Any] = Field(
        default_factory=dict, description="Other keys of the version's configuration, e.g. dtype."
    )
    inputs: Inputs
    stream: bool = False
    mode: Literal["closed", "open"] = "closed"
    concurrency: Annotated[list[Level], Field(min_length=1, max_length=20)] | None = None
    rate: list[Rate] = Field(
        default_factory=list, max_length=20, description="Arrivals a second (open loop)."
    )
    warm_up: int = Field(
        20, ge=0, le=100_000, description="Predictions before each level that are not counted."
    )
    repeats: int = Field(3, ge=1, le=100)
    count: int | None = Field(None, ge=1, le=1_000_000, description="Predictions in one run.")
    duration: float | None = Field(
        None, gt=0, le=3_600, allow_inf_nan=False, description="Seconds of sending in one run."
    )
    timeout: float = Field(
        60, ge=1, le=3_600, allow_inf_nan=False, description="Seconds until a prediction counts as an error."
    )
    seed: int = Field(1, ge=0, description="Of the arrivals in an open loop.")

    @field_validator("concurrency", "rate", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (int, float)) else value

    @field_validator("model")
    @classmethod
    def _names_a_model(cls, value: str) -> str:
        if not MODEL.fullmatch(value):
            raise ValueError("must be owner/name, or owner/name:version with the version's whole id")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "open" and not self.rate:
            raise ValueError("rate: is required in mode open, e.g. [10, 50]")
        if self.mode == "closed" and self.rate:
            raise ValueError("rate: is for mode open; a closed loop has concurrency")
        if self.mode == "open" and self.concurrency is not None:
            raise ValueError("concurrency: is for mode closed; an open loop has rate")
        if self.count is not None and self.duration is not None:
            raise ValueError("count: give either count or duration")
        for name in ("concurrency", "rate"):
            levels = getattr(self, name) or []
            if len(set(levels)) != len(levels):
                raise ValueError(f"{name}: holds a level twice")
        return self

    @property
    def callers(self) -> list[int]:
        """The levels of a closed loop."""
        return self.concurrency or list(DEFAULT_CONCURRENCY)

    @property
    def seconds(self) -> float | None:
        """How long one run sends; None when it has a count."""
        return None if self.count is not None else self.duration or DEFAULT_SECONDS

    def policy(self) -> dict[str, Any]:
        """The version's configuration that this experiment asks for."""
        return {**self.config, **self.batching.config()}


def read(path: Path, changes: dict[str, Any] | None = None) -> Experiment:
    """An experiment from a file, with `changes` to its fields. Raises BadExperiment naming the file and the
    fields."""
    fields = with_preset(_changed(_parsed(path), changes or {}))
    fields.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:64])
    try:
        return Experiment.model_validate(fields, context={"folder": path.parent})
    except ValidationError as error:
        raise BadExperiment("\n".join(f"{path}: {line}" for line in sentences(error))) from None


def _changed(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """With changes over them; what a change excludes is dropped, as a count excludes a duration."""
    excluded = {"count": ("duration",), "duration": ("count",), "mode": ("rate", "concurrency")}
    dropped = {name for change in changes for name in excluded.get(change, ())}
    return {**{name: value for name, value in fields.items() if name not in dropped}, **changes}


def with_preset(fields: dict[str, Any]) -> dict[str, Any]:
    """The experiment's fields over its preset's; an unknown preset is left for the validation to name."""
    preset = PRESETS.get(str(fields.get("preset")), {})
    batching = fields.get("batching")
    merged = {**preset, **fields}
    if isinstance(batching, dict):
        merged["batching"] = {**preset.get("batching", {}), **batching}
    if fields.get("mode") == "open" and "concurrency" not in fields:
        merged.pop("concurrency", None)
    return merged


def sentences(error: ValidationError) -> list[str]:
    """One for each wrong field, the field first; what the alternatives of a field say is joined."""
    faults: dict[str, list[str]] = {}
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"] if not _is_alternative(part))
        message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        faults.setdefault(field, []).append(SENTENCES.get(fault["type"]) or message)
    joined = ((field, " or ".join(dict.fromkeys(messages))) for field, messages in faults.items())
    return [f"{field}: {message}" if field else message for field, message in joined]


def _is_alternative(part: str | int) -> bool:
    """Whether a part of a place is pydantic's name for one of a union's types."""
    return isinstance(part, str) and (
        part in ("int", "float") or part.startswith(("literal[", "constrained-", "function-"))
    )


def find(name: str) -> Path:
    """The file that is meant: a path, or the name of a shipped experiment. Raises BadExperiment."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    for suffix in (".yaml", ".toml"):
        if (SHIPPED / f"{name}{suffix}").is_file():
            return SHIPPED / f"{name}{suffix}"
    shipped = sorted(path.stem for path in SHIPPED.glob("*.yaml")) if SHIPPED.is_dir() else []
    raise BadExperiment(
        f"{name}: no such file" + (f"; shipped experiments are: {', '.join(shipped)}" if shipped else "")
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except OSError as error:
        raise BadExperiment(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "YAML"
        raise BadExperiment(f"{path}: is not {kind}: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise BadExperiment(f"{path}: must hold fields, such as model and inputs")
    return {str(name): field for name, field in value.items()}
