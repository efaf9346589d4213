"""Brings a version's files to this machine: from the Hugging Face hub, S3 or a folder. Safetensors only.

One download of a source at a time; others that need it wait for it. Progress goes to the log function that is
passed in.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.domain.errors import ModelUnavailable
from app.domain.versions import Source, parse_source
from app.outbound import s3
from app.outbound.hub import HubClient, HubFailed
from app.outbound.s3 import S3Failed, S3Objects

log = structlog.get_logger(__name__)

LogLine = Callable[[str], None]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle")
# Weights in other formats and pictures in model cards; never needed by a runtime.
UNWANTED = re.compile(
    r"(^|/)\."
    r"|\.(bin|pt|pth|pkl|ckpt|pickle|h5|msgpack|onnx|ot|gguf|tflite|mp4|gif)$"
    r"|^(onnx|openvino|coreml)/",
    re.I,
)
DONE_MARK = ".complete"


@dataclass(frozen=True, slots=True)
class ModelFileOptions:
    """`roots`: folders that `path:` sources may point into; `cache`: where downloads are kept. Empty values:
    the libraries' own."""

    roots: Sequence[Path]
    cache: Path
    hf_endpoint: str = ""
    hf_token: str = ""
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""


class ModelFiles:
    """Thread-safe."""

    def __init__(self, options: ModelFileOptions) -> None:
        self._options = options
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def local(self, source_text: str, log_line: LogLine) -> str:
        """The local folder of a source ("" for none). Raises ModelUnavailable with a sentence."""
        source = parse_source(source_text)
        if source.kind == "none":
            return ""
        if source.kind == "path":
            return str(self._folder(source))
        with self._locks[source_text]:
            fetch = self._from_hub if source.kind == "hf" else self._from_s3
            return str(fetch(source, log_line))

    def _folder(self, source: Source) -> Path:
        folder = Path(source.location).resolve()
        if not any(folder.is_relative_to(root) for root in self._options.roots):
            raise ModelUnavailable("The model's folder is not under one of this worker's MODEL_ROOTS.")
        if not folder.is_dir():
            raise ModelUnavailable("The model's folder does not exist on this worker.")
        return folder

    def _from_hub(self, source: Source, log_line: LogLine) -> Path:
        folder = self._options.cache / "hf" / source.location.replace("/", "--") / (source.revision or "main")
        if (folder / DONE_MARK).exists():
            return folder
        try:
            self._download(source, folder, log_line)
        except (HubFailed, OSError, ValueError) as error:
            raise _not_downloaded(source, error) from error
        return folder

    def _download(self, source: Source, folder: Path, log_line: LogLine) -> None:
        hub = HubClient(self._options.hf_endpoint, self._options.hf_token, saved_login=True)
        files = wanted_files(hub.repository(source.location, source.revision, sizes=True).files)
        total, done = sum(size for _, size in files), 0
        log_line(f"Downloading {source}: {len(files)} files, {megabytes(total)}\n")
        for number, (name, size) in enumerate(files, 1):
            hub.download(source.location, name, source.revision, folder)
            done += size
            log_line(f"Downloaded {name} ({number}/{len(files)}, {megabytes(done)} of {megabytes(total)})\n")
        (folder / DONE_MARK).touch()

    def _from_s3(self, source: Source, log_line: LogLine) -> Path:
        bucket, _, prefix = source.location.partition("/")
        folder = self._options.cache / "s3" / bucket / prefix
        if (folder / DONE_MARK).exists():
            return folder
        try:
            self._download_objects(bucket, prefix.rstrip("/") + "/", folder, log_line)
        except (S3Failed, OSError) as error:
            raise _not_downloaded(source, error) from error
        return folder

    def _download_objects(self, bucket: str, prefix: str, folder: Path, log_line: LogLine) -> None:
        options = self._options
        keys = (options.s3_access_key_id or None, options.s3_secret_access_key or None)
        objects = S3Objects(s3.connect(options.s3_endpoint_url or None, options.s3_region, *keys))
        listed = objects.list_objects(bucket, prefix)
        files = [(name, size) for name, size in wanted_files(listed) if name and not name.endswith("/")]
        if not files:  # and no mark: they may be put there yet
            raise ModelUnavailable(f"s3://{bucket}/{prefix} holds no files.")
        for name, size in files:
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ModelUnavailable("An object under the source's prefix has an unusable name.")
            target.parent.mkdir(parents=True, exist_ok=True)
            objects.download(bucket, prefix + name, target)
            log_line(f"Downloaded {name} ({megabytes(size)})\n")
        (folder / DONE_MARK).touch()


def _not_downloaded(source: Source, error: Exception) -> ModelUnavailable:
    reason = str(error) or type(error).__name__  # a time-out may say nothing
    log.warning("download_failed", source=str(source), reason=reason)
    return ModelUnavailable(f"{source} could not be downloaded: {reason.splitlines()[0][:300]}")


def wanted_files(files: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The files to fetch: everything but weights in other formats. Raises ModelUnavailable when only pickles
    are there."""
    kept = [(name, size) for name, size in files if not UNWANTED.search(name)]
    has_pickles = any(name.lower().endswith(PICKLES) for name, _ in files)
    if has_pickles and not any(name.endswith(".safetensors") for name, _ in kept):
        raise ModelUnavailable("The source has pickled weights only; Lovage loads safetensors only.")
    return kept


def megabytes(size: int) -> str:
    """1_500_000 -> 1.5 MB."""
    return f"{size / 1e6:.1f} MB"
