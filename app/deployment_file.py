"""A deployment in one YAML file: its settings and its models, as a team keeps them in git.

    settings:
      API_PORT: 8001
      RATE_LIMIT_CREATES: 100/minute
    models:
      - name: acme/minilm
        source: hf:sentence-transformers/all-MiniLM-L6-v2

Settings have the variables' names; those that are secret stand elsewhere. What a setting may be is known to
app/settings.py, what a model may be to the platform that it is registered at.
"""

import difflib
import re
from collections.abc import Collection, Hashable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.setting_sources import FILE_SUFFIX, NEAR, WrongSource

LARGEST_FILE = 1_000_000  # bytes
Scalar = str | bool | int | float
Name = Annotated[str, Field(pattern=r"^([a-z0-9._-]{1,64}/)?[a-z0-9._-]{1,64}$")]


class ModelEntry(BaseModel):
    """A model as `lovage models add` takes it."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="owner/name, or name for a model of your own.")
    source: str = Field(
        "none", description="hf:org/name[@revision], path:FOLDER, s3://bucket/prefix, or none."
    )
    runtime: str = Field("", description="How to run it; default: found out from its files.")
    task: str = Field("", description="The task; default: found out from its files.")
    config: dict[str, Any] = Field(default_factory=dict, description="dtype, max_batch_size, device …")
    description: str | None = Field(None, description="One sentence.")
    public: bool = Field(False, description="Let every user run it.")


class Deployment(BaseModel):
    """Settings and models of a deployment of Lovage."""

    model_config = ConfigDict(extra="forbid")

    settings: dict[str, Scalar | None] = Field(default_factory=dict)
    models: list[ModelEntry] = Field(default_factory=list, max_length=1_000)

    def as_texts(self) -> dict[str, str]:
        """The settings as they would stand in .env, without those that have no value."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in self.settings.items()
            if value is not None
        }


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema: `off` is a text, and 5:30 no number of minutes. A key that stands twice is
    refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise WrongSource(f"line {key.start_mark.line + 1}: {key.value} stands twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


for tag, pattern, first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"-?(0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^({pattern})$"), first)


def read_deployment(path: Path, known: Collection[str], secrets: Collection[str]) -> Deployment:
    """The file at `path`. `known`: names of all settings, of which `secrets` may not stand in it. Raises
    WrongSource."""
    try:
        stamp = path.stat().st_mtime_ns
        deployment = _parse(path, stamp)
    except OSError as error:
        raise WrongSource(f"{path} cannot be read: {error.strerror}") from None
    except WrongSource as error:
        raise WrongSource(f"{path}: {error}") from None
    for name in deployment.settings:
        if name in secrets:
            raise WrongSource(
                f"{path}: settings.{name}: a secret does not belong into a file that others read: set it in"
                f" the environment, in .env, or name a file with {name}{FILE_SUFFIX}"
            )
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, 1, NEAR)
            question = f": did you mean {near[0]}?" if near else "; `lovage config show` lists them all"
            raise WrongSource(f"{path}: settings.{name}: is not a setting{question}")
    return deployment


@lru_cache(maxsize=4)
def _parse(path: Path, stamp: int) -> Deployment:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise WrongSource(f"is larger than {LARGEST_FILE:,} bytes")
    try:
        value = yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader
        return Deployment.model_validate({} if value is None else value)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise WrongSource(f"{where}{getattr(error, 'problem', None) or 'is not YAML'}") from None
    except RecursionError:
        raise WrongSource("is nested too deeply") from None
    except ValidationError as error:
        raise WrongSource(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, with its path."""
    first = error.errors()[0]
    # Of a value that may be of several kinds pydantic names each in the path.
    path = ".".join(str(part) for part in first["loc"] if part not in ("str", "bool", "int", "float"))
    words = {
        "extra_forbidden": "is not known here",
        "missing": "is missing",
        "model_type": "must have the keys settings and models",
        "string_pattern_mismatch": "must be owner/name or name, in a-z, 0-9, '.', '_' and '-'",
    }
    kind = first["type"]
    sentence = words.get(kind, first["msg"])
    if path.startswith("settings.") and kind.endswith("_type"):
        sentence = "must be a text, a number, true or false"
    return f"{path}: {sentence}" if path else sentence
