"""What must be there before the engine can have a prediction: its version, the version's files, the input's
files. Blocks for look-ups and input files, not for downloads; the runner does it on threads of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.domain.errors import ModelUnavailable
from app.domain.file_inputs import takes_files
from app.domain.version_settings import number_of
from app.domain.work import ModelSpec
from app.worker.inputs import Inputs, IsCanceled
from app.worker.long_inputs import LongInputs
from app.worker.model_files import ModelFiles
from app.worker.version_cache import KEPT, Version, Versions


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how this worker runs models."""

    device: str
    threads: int
    run_timeout: float
    trusted: frozenset[str]
    name: str = ""  # of the device, where it is not torch's
    development: bool = False

    @property
    def label(self) -> str:
        """The device as metrics name it."""
        return self.name or self.device


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """A version whose files are on their way: `bytes` of `total_bytes`, which is 0 until they are listed."""

    version: str
    model: str
    bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ReadyVersion:
    """A version whose files are on this machine. `file_inputs`: names of the inputs that may name files;
    `timeout` in seconds of running."""

    spec: ModelSpec
    input_schema: dict[str, Any]
    file_inputs: tuple[str, ...]
    may_write_files: bool
    timeout: float


class Preparation:
    """Thread-safe. `ready` holds the versions that were fetched, by id."""

    def __init__(
        self,
        versions: Versions,
        model_files: ModelFiles,
        inputs: Inputs,
        long_inputs: LongInputs,
        options: RunOptions,
    ) -> None:
        self._versions, self._model_files = versions, model_files
        self._inputs, self._options = inputs, options
        self.whole_input = long_inputs.whole_input
        self.ready: dict[str, ReadyVersion] = {}
        self._downloading: dict[str, Version] = {}

    def fetch(self, version_id: str, log: Callable[[str], None]) -> "Future[ReadyVersion]":
        """Looks the version up, and has its files brought here; `log` is given the lines of a download.
        Cancel the future to wait no longer. Raises ModelUnavailable, and so does the future."""
        version = self._versions.get(version_id)
        folders = [self._model_files.fetch(source, log, content) for source, content in sources_of(version)]
        if not all(folder.done() for folder in folders):
            self._downloading[version_id] = version
        ready: Future[ReadyVersion] = Future()
        # Does nothing to one that is done.
        ready.add_done_callback(lambda _: [folder.cancel() for folder in folders])
        on_each = self._pass_on_last(version, folders, ready)
        for folder in folders:
            folder.add_done_callback(on_each)
        return ready

    def downloads(self) -> list[DownloadProgress]:
        """What is being downloaded just now."""
        downloads = []
        for version in list(self._downloading.values()):
            steps = (self._model_files.downloaded(*source) for source in sources_of(version))
            if (progress := next(filter(None, steps), None)) is None:
                self._downloading.pop(version.id, None)
            else:
                downloads.append(DownloadProgress(version.id, version.model, *progress))
        return downloads

    def _pass_on_last(
        self, version: Version, folders: "list[Future[str]]", ready: "Future[ReadyVersion]"
    ) -> "Callable[[Future[str]], None]":
        """What is called as each of the folders is there, or failed: the last call has them all."""
        lock, missing = threading.Lock(), [len(folders)]

        def on_each(_: "Future[str]") -> None:
            with lock:
                missing[0] -= 1
                is_last = not missing[0]
            if is_last:
                self._pass_on(version, folders, ready)

        return on_each

    def _pass_on(self, version: Version, folders: "list[Future[str]]", ready: "Future[ReadyVersion]") -> None:
        if not ready.set_running_or_notify_cancel():
            return
        try:
            ready.set_result(self._remember(version, [folder.result() for folder in folders]))
        except ModelUnavailable as error:
            ready.set_exception(error)

    def _remember(self, version: Version, folders: list[str]) -> ReadyVersion:
        """`folders`: of `sources_of(version)`."""
        options = self._options
        sources = [source for source, _ in sources_of(version)]
        pairs = zip(folders, sources, strict=True)
        local = tuple(folder for folder, source in pairs if source.startswith("path:"))
        spec = ModelSpec(
            version.id,
            version.model,
            version.runtime,
            version.task,
            folders[-1],
            version.config,
            options.device,
            options.threads,
            len(folders) == 1 and version.source.removeprefix("hf:") in options.trusted,
            options.development,
            version.fingerprint if local else "",
            adapter=folders[0] if len(folders) > 1 else "",
            contents=local,
        )
        ready = ReadyVersion(
            spec,
            version.input_schema,
            file_inputs(version.input_schema),
            may_write_files(version.output_schema),
            number_of(version.config, "timeout") or options.run_timeout,
        )
        if len(self.ready) >= KEPT:
            self.ready.clear()
        self.ready[version.id] = ready
        return ready

    def close(self) -> None:
        """Begins no more downloads."""
        self._model_files.close()

    def localize(
        self, version: ReadyVersion, values: dict[str, Any], folder: Path, is_canceled: IsCanceled
    ) -> dict[str, Any]:
        """The input with its files as local paths in `folder`, which is made. Raises InvalidInputFile,
        CallCanceled."""
        folder.mkdir()
        return self._inputs.localize(values, version.input_schema, folder, is_canceled)


def sources_of(version: Version) -> list[tuple[str, str]]:
    """(source, what it must hold: a bucket's fingerprint) of all that is fetched for a version: its own, and,
    where that is an adapter, then the model that it is merged into."""
    own = (version.source, version.fingerprint)
    base = version.config.get("base_model")
    return [own, (str(base), "")] if base else [own]


def file_inputs(schema: dict[str, Any]) -> tuple[str, ...]:
    """The inputs that may name files (fields of `format: uri`, lists of them included)."""
    return tuple(name for name, field in schema.get("properties", {}).items() if takes_files(field))


def may_write_files(schema: dict[str, Any]) -> bool:
    """Whether an output of this schema may hold files; a schema that does not say leaves it open."""
    if choices := schema.get("anyOf"):
        return any(may_write_files(choice) for choice in choices)
    kind = schema.get("type")
    if kind == "object" and schema.get("properties"):
        return any(may_write_files(field) for field in schema["properties"].values())
    if kind == "array":
        return may_write_files(schema.get("items", {}))
    if kind == "string":
        return schema.get("format") == "uri"
    return kind not in ("number", "integer", "boolean", "null")
