"""A bench's result as a file: what was asked, on what, and every run's figures. Knows JSON and files, nothing
of the platform."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.bench.experiment import Experiment, sentences
from app.bench.figures import Run, median


class BadResult(Exception):
    """The file is no result; the text says why."""


def made_now() -> str:
    """When a result is made: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def level_name(concurrency: int | None, rate: float | None) -> str:
    """For people."""
    return f"{concurrency} in flight" if rate is None else f"{rate:g}/s"


class Where(BaseModel):
    """The platform and the machine. `local`: the platform ran on the machine that sent the load;
    `load_average`: what the machine was busy with in the minute before, in processes that wanted a core.
    """

    model_config = ConfigDict(extra="forbid")

    url: str
    platform_version: str
    local: bool
    cores: int
    processor: str
    python: str
    devices: dict[str, int] = Field(default_factory=dict)
    load_average: float = 0.0

    @property
    def busy(self) -> str:
        """A sentence where other work had most of the machine; empty otherwise."""
        if self.load_average <= self.cores / 2:
            return ""
        return (
            f"this machine was busy (load average {self.load_average:.1f} on {self.cores} cores): times say"
            " little, CPU says more"
        )


class LevelResult(BaseModel):
    """One level of concurrency (closed loop) or of rate (open loop), its runs and their medians."""

    model_config = ConfigDict(extra="forbid")

    concurrency: int | None = None
    rate: float | None = None
    median: Run
    runs: list[Run] = Field(min_length=1)

    @classmethod
    def from_runs(
        cls, runs: list[Run], *, concurrency: int | None = None, rate: float | None = None
    ) -> "LevelResult":
        """A level with the medians of its runs."""
        return cls(concurrency=concurrency, rate=rate, median=median(runs), runs=runs)

    @property
    def name(self) -> str:
        return level_name(self.concurrency, self.rate)

    @property
    def key(self) -> tuple[int | None, float | None]:
        return self.concurrency, self.rate


class Result(BaseModel):
    """`complete` is false when it was interrupted; `version` is the id that ran, `config` its configuration;
    `inputs` the SHA-256 of all inputs.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["lovage-bench/1"] = "lovage-bench/1"
    made_at: str = Field(default_factory=made_now)
    complete: bool = True
    experiment: Experiment
    version: str
    config: dict[str, Any]
    inputs: str
    where: Where
    levels: list[LevelResult]


def write(path: Path, result: BaseModel) -> None:
    """Makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result.model_dump_json(indent=2, by_alias=True) + "\n")


Kind = TypeVar("Kind", bound=BaseModel)


def read(path: Path, kind: type[Kind]) -> Kind:
    """Raises BadResult naming the file."""
    try:
        return kind.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise BadResult(f"{path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise BadResult(f"{path}: is not JSON") from None
    except ValidationError as error:
        raise BadResult(f"{path}: {sentences(error)[0]}") from None


def default_path(folder: Path, name: str, kind: str = "") -> Path:
    """`NAME-20261121-0755[-kind].json`, in UTC; never a file that is there."""
    stem = "-".join(filter(None, (name, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), kind)))
    path = folder / f"{stem}.json"
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    return path
