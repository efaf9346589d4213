"""What registering a version would find, said without registering it: what its files are, how they would be
run, what is wrong with them. Pure but for the checks that it is given.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from app.domain.errors import FieldError, Forbidden, InvalidRequest
from app.domain.version_settings import AUTO, value_of
from app.services.catalogue.model_files import ModelFiles

Check = Callable[[], object]

# Bytes of one number by safetensors' names of dtypes; of a version's `dtype` by torch's.
BYTES_OF = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
BYTES_AS = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOATS = ("F64", "F32", "F16", "BF16")
# Runtimes that load weights in the dtype of the version, whatever they were saved in.
NETWORKS = ("text-generation", "embedding", "pair-scoring", "pipeline", "image-generation")


@dataclass(frozen=True, slots=True)
class ModelReport:
    """`source` as it would be stored; empty `runtime`: it is not known. `files` and `bytes` count what
    the source holds (None: not looked into); `dtype` is what most of the weights were saved in, "" where that
    is not known; `memory_bytes` is the weights in the dtype that they would be loaded in, 0 where that is not
    known. `problems`: why it would be refused, in the order of mending."""

    source: str
    runtime: str
    task: str
    files: int | None
    bytes: int | None
    dtype: str
    parameters: int
    memory_bytes: int
    problems: tuple[FieldError, ...]


def collect_problems(checks: Iterable[Check]) -> tuple[FieldError, ...]:
    """What these checks refuse, all of them."""
    problems: list[FieldError] = []
    for check in checks:
        try:
            check()
        except InvalidRequest as error:
            problems += error.fields
        except Forbidden as error:
            problems.append(FieldError("source", "forbidden", error.detail))
    return tuple(dict.fromkeys(problems))


def report(
    source: str,
    kind: tuple[str, str],
    files: ModelFiles | None,
    config: dict[str, Any],
    problems: tuple[FieldError, ...],
) -> ModelReport:
    """`kind`: (runtime, task), empty where they are not known."""
    counts = files.parameters if files else {}
    saved = max(counts, key=lambda dtype: counts[dtype], default="")
    return ModelReport(
        source,
        *kind,
        len(files.names) if files else None,
        sum(files.sizes.values()) if files else None,
        saved,
        sum(counts.values()),
        sum(count * _bytes_each(dtype, kind[0], config) for dtype, count in counts.items()),
        problems,
    )


def _bytes_each(saved: str, runtime: str, config: dict[str, Any]) -> int:
    dtype = str(value_of(config, "dtype"))
    if saved not in FLOATS or runtime not in NETWORKS or dtype == AUTO:
        return BYTES_OF.get(saved, 1)
    return BYTES_AS.get(dtype, BYTES_OF[saved])
