"""Where an experiment's inputs come from: one fixed, a list, a file, or generated texts. The same inputs
every time.

Knows fields and files. A file is read when the experiment is, so that a result holds all that was sent.
"""

import json
import math
import random
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

# Each of them is one token of the usual English tokenizers.
WORDS = (
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "house",
    "night",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
)
Bounds = Annotated[list[int], Field(min_length=2, max_length=2)]
Object = dict[str, Any]


class Texts(BaseModel):
    """Texts with log-normal lengths in words, the words drawn evenly."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    into: str = Field(
        "text", min_length=1, max_length=200, description="The input's field that takes the text."
    )
    median: float = Field(24, ge=1, le=100_000)
    spread: float = Field(0.8, ge=0, le=5, description="Standard deviation of the length's logarithm.")
    least: int = Field(3, ge=1, le=100_000)
    most: int = Field(250, ge=1, le=100_000)
    number: int = Field(1_000, ge=1, le=100_000, description="Different texts; then they are sent again.")
    seed: int = Field(1, ge=0)
    also: Object = Field(default_factory=dict, description="Other fields of every input.")
    vary: dict[str, Bounds] = Field(
        default_factory=dict, description="Drawn evenly, e.g. max_new_tokens: [16, 128]."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.least > self.most:
            raise ValueError("least: must not be above most")
        for name, (low, high) in self.vary.items():
            if low > high:
                raise ValueError(f"vary.{name}: the first number must not be above the second")
        return self

    def make(self) -> list[Object]:
        """The inputs."""
        generator = random.Random(self.seed)
        return [self._make_input(generator) for _ in range(self.number)]

    def _make_input(self, generator: random.Random) -> Object:
        words = round(generator.lognormvariate(math.log(self.median), self.spread))
        text = " ".join(generator.choice(WORDS) for _ in range(min(self.most, max(self.least, words))))
        varied = {name: generator.randint(low, high) for name, (low, high) in self.vary.items()}
        return {**self.also, **varied, self.into: text}


class FromFile(BaseModel):
    """`.jsonl`: an input a line; `.json`: a list of inputs; anything else: a text a line, for the field
    `into`."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, description="Relative to the experiment's file.")
    into: str = Field("text", min_length=1, max_length=200)
    also: Object = Field(default_factory=dict)


class Inputs(BaseModel):
    """Exactly one of them."""

    model_config = ConfigDict(extra="forbid")

    fixed: Object | None = None
    list_: list[Object] | None = Field(None, alias="list", min_length=1, max_length=100_000)
    file: FromFile | None = None
    texts: Texts | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        sources = [name for name in Inputs.model_fields if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError("give exactly one of fixed, list, file, texts")
        return self

    @field_validator("file")
    @classmethod
    def _read_file(cls, value: FromFile | None, info: ValidationInfo) -> FromFile | None:
        if value is not None and info.context:
            value = value.model_copy(update={"path": str((info.context["folder"] / value.path).resolve())})
            from_file(value)  # a missing or broken file is said now
        return value

    def make(self) -> list[Object]:
        """All inputs, in the order in which they are sent."""
        if self.fixed is not None:
            return [self.fixed]
        if self.list_ is not None:
            return self.list_
        return from_file(self.file) if self.file else self.texts.make() if self.texts else []


def from_file(source: FromFile) -> list[Object]:
    """A file's inputs. Raises ValueError with a sentence."""
    path = Path(source.path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: is not UTF-8 text") from None
    values = _values(path, text, source)
    if not values:
        raise ValueError(f"{path.name}: holds no input")
    return [{**source.also, **value} for value in values]


def _values(path: Path, text: str, source: FromFile) -> list[Object]:
    if path.suffix not in (".json", ".jsonl"):
        return [{source.into: line} for line in text.splitlines() if line.strip()]
    lines = [line for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else [text]
    try:
        values = [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: is not JSON: {error.msg}") from None
    values = values[0] if path.suffix == ".json" else values
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"{path.name}: must hold one object for each input")
    return values
