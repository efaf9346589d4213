"""What must be there before the engine can have a prediction: its version, the version's files, the input's
files. Blocks for look-ups and input files, not for downloads; the runner does it on threads of its own."""

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
        folder = self._model_files.fetch(version.source, log, version.fingerprint)
        if not folder.done():
            self._downloading[version_id] = version
        ready: Future[ReadyVersion] = Future()
        ready.add_done_callback(lambda _: folder.cancel())  # does nothing to one that is done
        folder.add_done_callback(lambda _: self._pass_on(version, folder, ready))
        return ready

    def downloads(self) -> list[DownloadProgress]:
        """What is being downloaded just now."""
        downloads = []
        for version in list(self._downloading.values()):
            if (progress := self._model_files.downloaded(version.source, version.fingerprint)) is None:
                self._downloading.pop(version.id, None)
            else:
                downloads.append(DownloadProgress(version.id, version.model, *progress))
        return downloads

    def _pass_on(self, version: Version, folder: "Future[str]", ready: "Future[ReadyVersion]") -> None:
        if not ready.set_running_or_notify_cancel():
            return
        try:
            ready.set_result(self._remember(version, folder.result()))
        except ModelUnavailable as error:
            ready.set_exception(error)

    def _remember(self, version: Version, folder: str) -> ReadyVersion:
        options = self._options
        spec = ModelSpec(
            version.id,
            version.model,
            version.runtime,
            version.task,
            folder,
            version.config,
            options.device,
            options.threads,
            version.source.removeprefix("hf:") in options.trusted,
            options.development,
            version.fingerprint if version.source.startswith("path:") else "",
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
