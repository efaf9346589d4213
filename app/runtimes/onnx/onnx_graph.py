"""Any ONNX graph by its own signature: tensors in, tensors out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.raw_tensors import RawTensor
from app.domain.work import Canceled, Event, Failed, Finished, ModelSpec
from app.runtimes import schema
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.finite import NOT_FINITE, is_finite
from app.runtimes.onnx import sessions
from app.runtimes.tensor_arrays import array_of, tensor_of

DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    "string": "object",
    **{kind: kind for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}
INPUTS = schema.inputs(
    {
        "tensors": {
            "type": "object",
            "description": "The graph's inputs by their names, each as lists in lists; `facts` of the version"
            " has their names, dtypes and shapes.",
        }
    },
    ("tensors",),
)


class OnnxGraph(Runtime):
    """One run for each prediction: what rows of a graph mean, only its maker knows."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="onnx",
        description="Runs any ONNX graph by its signature: tensors in, tensors out.",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "type": "object"}},
        config=sessions.SETTINGS,
    )
    batches = False
    takes_tensors: ClassVar[bool] = True

    def __init__(self, session: Any, file: Path) -> None:
        self._session, self._file = session, file
        self._inputs = {each.name: each for each in session.get_inputs()}
        self._outputs = [each.name for each in session.get_outputs()]
        for name, each in self._inputs.items():
            if _dtype(each.type) is None:
                raise ValueError(
                    f"the graph's input {name!r} is a {each.type}, which is no tensor of numbers"
                )

    @classmethod
    def load(cls, model: ModelSpec) -> "OnnxGraph":
        file = sessions.choose_file(Path(model.path), model.config)
        return cls(sessions.open_session(file, model), file)

    def prepare(self, job: Job) -> None:
        tensors: Mapping[str, Any] = {**job.input["tensors"], **(job.tensors or {})}
        missing = [name for name in self._inputs if name not in tensors]
        unknown = [name for name in tensors if name not in self._inputs]
        if missing or unknown:
            wrong = f"lacks {missing[0]!r}" if missing else f"has no input {unknown[0][:100]!r}"
            raise ValueError(f"tensors: {wrong}; the graph's inputs are: {', '.join(self._inputs)}")
        job.prepared = {name: as_array(name, tensors[name], each) for name, each in self._inputs.items()}

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        for job in batch:
            if feed.canceled(job.id):
                yield job.id, Canceled()
                continue
            answers = self._session.run(self._outputs, job.prepared)
            named = dict(zip(self._outputs, answers, strict=True))
            if job.tensors is not None:
                yield job.id, with_tensors(named)
            elif is_finite(named):
                yield job.id, Finished({name: as_json(value) for name, value in named.items()})
            else:
                yield job.id, Failed(NOT_FINITE)

    def facts(self) -> dict[str, Any]:
        inputs = {name: f"{_dtype(each.type)} {list(each.shape)}" for name, each in self._inputs.items()}
        return {**sessions.facts_of(self._session, self._file), "inputs": inputs, "outputs": self._outputs}


def _dtype(kind: str) -> str | None:
    """numpy's name for `tensor(float)` and its like."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(inner) if kind.startswith("tensor(") else None


def as_array(name: str, value: Any, signature: Any) -> Any:
    """The value as the graph takes it. Raises ValueError naming the input."""
    import numpy

    dtype, shape = _dtype(signature.type), list(signature.shape)
    if isinstance(value, RawTensor):
        as_it_is = array_of(value)
        value = as_it_is if as_it_is.dtype == dtype else value.as_lists()
    try:
        array = numpy.asarray(value, dtype=dtype)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"tensors: {name!r} is no tensor of {dtype} (lists of equal length in lists)"
        ) from None
    fits = array.ndim == len(shape) and all(
        not isinstance(wish, int) or wish == size for wish, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"tensors: {name!r} has the shape {list(array.shape)}, the graph takes {shape}")
    return array


def with_tensors(named: Mapping[str, Any]) -> Finished:
    """Arrays of numbers stay bytes; the engine sees whether they are finite."""
    tensors = {name: tensor for name, value in named.items() if (tensor := tensor_of(value)) is not None}
    return Finished(
        {name: as_json(value) for name, value in named.items() if name not in tensors}, tensors=tensors
    )


def as_json(value: Any) -> Any:
    """Lists of numbers or texts; what is a sequence or a map stays one."""
    return value.tolist() if hasattr(value, "tolist") else value
