"""A user's own code: a folder with a `predictor.py` that has `load`, `predict` and `unload`, as functions or
in a class `Predictor`. Administrators only, because it runs as the worker."""

import importlib.util
import inspect
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Canceled, Chunk, Event, Failed, Finished, ModelSpec, file_out
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec


class PythonFolder(Runtime):
    """One prediction at a time, in the order they came. A generator streams; a Path that is returned is a
    file."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="python",
        description="Runs a folder's own predictor.py. Its inputs are read from the signature of `predict`.",
        inputs={"": {"type": "object", "title": "Input", "properties": {}}},
        outputs={"": {"title": "Output"}},
        streams=True,
        admin_only=True,
    )

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self._parameters = inspect.signature(predictor.predict).parameters

    @classmethod
    def load(cls, model: ModelSpec) -> "PythonFolder":
        folder = Path(model.path)
        spec = importlib.util.spec_from_file_location("predictor", folder / "predictor.py")
        if spec is None or spec.loader is None or not (folder / "predictor.py").is_file():
            raise ValueError("the folder has no predictor.py")
        sys.path.insert(0, str(folder))  # its own modules beside it
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        predictor = module.Predictor() if hasattr(module, "Predictor") else module
        if hasattr(predictor, "load"):
            takes = inspect.signature(predictor.load).parameters
            offered = {"device": model.device, "path": folder}
            predictor.load(**{name: value for name, value in offered.items() if name in takes})
        return cls(predictor)

    def prepare(self, job: Job) -> None:
        job.prepared = dict(job.input)
        for name, parameter in self._parameters.items():
            value = job.input.get(name)
            if isinstance(value, str) and ("Path" in (hint := str(parameter.annotation)) or "File" in hint):
                job.prepared[name] = Path(value)
            elif name not in job.input and hasattr(parameter.default, "default"):
                # `x: int = Input(default=None)`: without a value the function would get the description
                # itself.
                job.prepared[name] = parameter.default.default

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        for job in batch:
            if feed.canceled(job.id):
                yield job.id, Canceled()
                continue
            try:
                yield from self._predict(job, feed)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; this item fails
                yield job.id, Failed(f"{type(error).__name__}: {error}")

    def _predict(self, job: Job, feed: Feed) -> Iterator[tuple[str, Event]]:
        answer = self._predictor.predict(**job.prepared)
        if not inspect.isgenerator(answer):
            yield job.id, Finished(copy_files(answer, job))
            return
        chunks = []
        for piece in answer:
            if feed.canceled(job.id):
                answer.close()
                yield job.id, Canceled()
                return
            chunks.append(copy_files(piece, job))
            yield job.id, Chunk(chunks[-1])
        yield job.id, Finished(chunks)

    def unload(self) -> None:
        if hasattr(self._predictor, "unload"):
            self._predictor.unload()


def copy_files(value: Any, job: Job) -> Any:
    """A value with each Path copied into the job's folder and named as a file."""
    if isinstance(value, Path):
        target = Path(job.folder) / value.name
        if value.resolve() == target.resolve():
            return file_out(target.name)
        for number in range(1, 10_000):  # two files of one name from two folders are two files
            if not target.exists():
                break
            target = target.with_name(f"{value.stem}-{number}{value.suffix}")
        shutil.copyfile(value, target)
        return file_out(target.name)
    if isinstance(value, list | tuple):
        return [copy_files(part, job) for part in value]
    return {name: copy_files(part, job) for name, part in value.items()} if isinstance(value, dict) else value
