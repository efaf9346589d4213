"""A user's own code: a folder with a `predictor.py` that has `load` (or cog's `setup`), `predict` and
`unload`, as functions or in a class `Predictor`. Administrators only, because it runs as the worker."""

import asyncio
import importlib.util
import inspect
import shutil
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Canceled, Chunk, Event, Failed, Finished, ModelSpec, file_out
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.python import cog_names, cog_scope
from app.runtimes.python.context import Context


class PythonFolder(Runtime):
    """One prediction at a time, in the order they came, or those that wait together by `predict_batch`. A
    generator streams; a Path that is returned is a file."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="python",
        description="Runs a folder's own predictor.py. Its inputs are read from the signature of `predict`.",
        inputs={"": {"type": "object", "title": "Input", "properties": {}}},
        outputs={"": {"title": "Output"}},
        streams=True,
        admin_only=True,
    )
    batches = False

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self._parameters = inspect.signature(predictor.predict).parameters
        self._hints = type_hints(predictor.predict)
        self._runner = asyncio.Runner()
        self.batches = hasattr(predictor, "predict_batch")
        self._context = next((name for name, hint in self._hints.items() if is_context(hint)), "")

    @classmethod
    def load(cls, model: ModelSpec) -> "PythonFolder":
        folder = Path(model.path)
        # No compiled copy is kept in the folder: a file that is written anew within a second, and is as long,
        # would run as it was before.
        sys.dont_write_bytecode = True
        spec = importlib.util.spec_from_file_location("predictor", folder / "predictor.py")
        if spec is None or spec.loader is None or not (folder / "predictor.py").is_file():
            raise ValueError("the folder has no predictor.py")
        sys.path.insert(0, str(folder))  # its own modules beside it
        cog_names.offer_names()
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pydantic look a class's module up
        spec.loader.exec_module(module)
        predictor = module.Predictor() if hasattr(module, "Predictor") else module
        runtime = cls(predictor)
        if function := loading_function(predictor):
            runtime._call(function, {"device": model.device, "path": folder})
        return runtime

    def _call(self, function: Callable[..., Any], offered: dict[str, Any]) -> None:
        """With those of the offered arguments that it takes."""
        takes = inspect.signature(function).parameters
        answer = function(**{name: value for name, value in offered.items() if name in takes})
        if inspect.iscoroutine(answer):
            self._runner.run(answer)

    def prepare(self, job: Job) -> None:
        job.prepared = dict(job.input)
        for name, parameter in self._parameters.items():
            if name in job.input:
                job.prepared[name] = with_paths(job.input[name], self._hints.get(name))
            elif hasattr(parameter.default, "default"):
                # `x: int = Input(default=None)`: without a value the function would get the description
                # itself.
                job.prepared[name] = parameter.default.default

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        if self.batches:
            yield from self._predict_batch(batch)
            return
        for job in batch:
            if feed.canceled(job.id):
                yield job.id, Canceled()
                continue
            context = Context(job, feed)
            try:
                with cog_scope.running(context):
                    yield from self._predict(job, feed, context)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything; this item fails
                yield job.id, Failed(f"{type(error).__name__}: {error}")

    def _predict_batch(self, batch: Sequence[Job]) -> Iterator[tuple[str, Event]]:
        """An exception is the whole batch's; one among the answers is that input's."""
        answers = self._predictor.predict_batch([job.prepared for job in batch])
        if inspect.iscoroutine(answers):
            answers = self._runner.run(answers)
        answers = list(answers)
        if len(answers) != len(batch):
            raise RuntimeError(f"predict_batch gave {len(answers)} answers to {len(batch)} inputs")
        for job, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                yield job.id, Failed(f"{type(answer).__name__}: {answer}")
            else:
                yield job.id, Finished(copy_files(answer, job))

    def _predict(self, job: Job, feed: Feed, context: Context) -> Iterator[tuple[str, Event]]:
        own = {self._context: context} if self._context else {}
        answer = self._predictor.predict(**job.prepared, **own)
        if inspect.iscoroutine(answer):
            answer = self._runner.run(answer)
        if inspect.isasyncgen(answer):
            answer = self._pieces(answer)
        if not inspect.isgenerator(answer):
            yield job.id, Finished(copy_files(answer, job), dict(context.metrics))
            return
        chunks = []
        for piece in answer:
            if feed.canceled(job.id):
                answer.close()
                yield job.id, Canceled()
                return
            chunks.append(copy_files(piece, job))
            yield job.id, Chunk(chunks[-1])
        yield job.id, Finished(chunks, dict(context.metrics))

    def _pieces(self, answer: Any) -> Iterator[Any]:
        """Of an async generator, which is closed at the end, whatever the end is."""
        try:
            while True:
                try:
                    yield self._runner.run(anext_of(answer))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(answer.aclose())

    def unload(self) -> None:
        if hasattr(self._predictor, "unload"):
            self._predictor.unload()
        self._runner.close()


def loading_function(predictor: Any) -> Callable[..., Any] | None:
    """What is called once before the first prediction: cog's `setup`, where the predictor has one of its own,
    else `load`."""
    own_setup = getattr(type(predictor), "setup", None) is not cog_names.BasePredictor.setup
    name = "setup" if own_setup and hasattr(predictor, "setup") else "load"
    return getattr(predictor, name, None)


async def anext_of(pieces: Any) -> Any:
    return await anext(pieces)


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function as types; as they stand where they cannot be resolved."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def is_context(hint: Any) -> bool:
    """Whether an annotation asks for the platform's `Context`."""
    return hint is Context or (isinstance(hint, str) and hint.rpartition(".")[2] == Context.__name__)


def with_paths(value: Any, hint: Any) -> Any:
    """A text as a Path where the annotation says so, in lists and unions, too."""
    if isinstance(value, list):
        inside = next(iter(typing.get_args(_list_of(hint))), None)
        return [with_paths(item, inside) for item in value]
    return Path(value) if isinstance(value, str) and _may_be_path(hint) else value


def _list_of(hint: Any) -> Any:
    """The list among the choices of an annotation."""
    choices = (hint, *typing.get_args(hint))
    return next((choice for choice in choices if typing.get_origin(choice) in (list, Sequence)), None)


def _may_be_path(hint: Any) -> bool:
    if isinstance(hint, str):
        return "Path" in hint or "File" in hint
    choices = (hint, *typing.get_args(hint))
    return any(isinstance(choice, type) and choice.__name__.endswith(("Path", "File")) for choice in choices)


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
    if isinstance(value, list | tuple | set):
        return [copy_files(part, job) for part in value]
    if hasattr(value, "model_dump"):  # pydantic
        return copy_files(value.model_dump(), job)
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: copy_files(getattr(value, part.name), job) for part in fields(value)}
    return {name: copy_files(part, job) for name, part in value.items()} if isinstance(value, dict) else value
