"""Brings a version's files to this machine: from the Hugging Face hub, S3 or a folder. Safetensors only.

Nobody waits on a thread: whoever needs a source that is not here yet gets a future. Progress goes to the log
function that is passed in.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import structlog

from app.domain.errors import ModelUnavailable
from app.domain.model_downloads import PICKLES, select_downloads
from app.domain.versions import Source, parse_source, too_large
from app.outbound.deadline import CallCanceled
from app.outbound.model_download import Download, DownloadJob
from app.storage.base import Storage
from app.worker.model_store import ModelStore, size_of
from app.worker.uploaded_models import UploadedModel

log = structlog.get_logger(__name__)

LogLine = Callable[[str], None]
DOWNLOADS = 4  # at once; more would only share one line and one disk


@dataclass(frozen=True, slots=True)
class ModelFileOptions:
    """`roots`: folders that `path:` sources may point into; `cache`: where downloads are kept, in at most
    `disk_bytes`; `max_bytes` of one model. Empty values and 0: the libraries' own, and no limit."""

    roots: Sequence[Path]
    cache: Path
    hf_endpoint: str = ""
    hf_token: str = ""
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: str = ""
    max_bytes: int = 0
    disk_bytes: int = 0


class ModelFiles:
    """Thread-safe. A source is downloaded once, for all who wait for it; the download ends when none of them
    does any more."""

    def __init__(
        self,
        options: ModelFileOptions,
        folders_in_use: Callable[[], Collection[str]] = tuple,
        storage: Storage | None = None,
    ) -> None:
        """`storage` has what was uploaded."""
        self._options, self._storage = options, storage
        self._store = ModelStore(options.cache, options.disk_bytes, folders_in_use)
        self._downloads: dict[str, SharedDownload] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download")

    def fetch(self, source_text: str, log_line: LogLine, fingerprint: str = "") -> "Future[str]":
        """The local folder of a source ("" for none), or ModelUnavailable with a sentence. `log_line` is
        given the lines of a download. `fingerprint`: what a bucket must hold, "" for no matter what. Cancel
        the future to wait no longer."""
        source = parse_source(source_text)
        if source.kind in ("none", "path", "backend"):
            return _completed(lambda: str(self._folder(source)) if source.kind == "path" else "")
        folder = self._store_folder(source, fingerprint)
        key = str(folder)
        with self._lock:
            download = self._downloads.get(key)
            if download is None and self._store.use(folder):
                return _completed(lambda: str(folder))
            if download is None:
                download = self._downloads[key] = SharedDownload(source, folder, fingerprint)
                self._threads.submit(self._run, key, download)
            return download.join(log_line)

    def downloaded(self, source_text: str, fingerprint: str = "") -> tuple[int, int] | None:
        """(bytes that are here, bytes in all) of a source that is being downloaded; (0, 0) before its files
        are listed, None for one that is not."""
        folder = self._store_folder(parse_source(source_text), fingerprint)
        with self._lock:
            download = self._downloads.get(str(folder))
        if download is None:
            return None
        return (min(size_of(folder), download.bytes), download.bytes) if download.bytes else (0, 0)

    def _folder(self, source: Source) -> Path:
        folder = Path(source.location).resolve()
        if not any(folder.is_relative_to(root) for root in self._options.roots):
            raise ModelUnavailable("The model's folder is not under one of this worker's MODEL_ROOTS.")
        if not folder.is_dir():
            raise ModelUnavailable("The model's folder does not exist on this worker.")
        return folder

    def _store_folder(self, source: Source, fingerprint: str) -> Path:
        if source.kind == "hf":
            return self._store.folder("hf", source.location.replace("/", "--"), source.revision or "main")
        if source.kind == "upload":
            return self._store.folder("upload", source.location)
        content = f"@{fingerprint[:16]}" if fingerprint else ""
        return self._store.folder("s3", quote(source.location, safe="") + content)

    def _run(self, key: str, download: "SharedDownload") -> None:
        outcome: Callable[[], str]
        try:
            self._download(download)
            outcome = lambda: str(download.folder)  # noqa: E731
        except CallCanceled:
            with self._lock:
                if download.is_wanted():  # somebody came at the last moment
                    self._threads.submit(self._run, key, download)
                    return
                del self._downloads[key]
            return
        except Exception as error:  # noqa: BLE001 - theirs who wait
            outcome = partial(_raise, _not_downloaded(download.source, error))
        with self._lock:
            del self._downloads[key]
        download.finish(outcome)

    def _download(self, shared: "SharedDownload") -> None:
        """Returns when it is here and in use."""
        is_canceled = lambda: not shared.is_wanted()  # noqa: E731
        while not self._store.use(shared.folder):
            with self._store.writing(shared.folder, is_canceled):
                if not self._store.is_complete(shared.folder):  # by another worker
                    if shared.source.kind == "upload":
                        self._fetch_uploaded(shared, is_canceled)
                        self._store.complete(shared.folder)
                        continue
                    with Download(self._job(shared), is_canceled) as process:
                        self._fetch_files(process, shared)
                    self._store.complete(shared.folder)

    def _fetch_files(self, process: Download, shared: "SharedDownload") -> None:
        files = wanted_files(process.files())
        total, done = sum(size for _, size in files), 0
        check_files(shared, files, self._options.max_bytes)
        if shared.source.kind == "s3" and shared.fingerprint not in ("", process.fingerprint):
            raise ModelUnavailable(
                f"What lies under {shared.source} has changed since this version was registered: register it"
                " again, which makes a new version of it, or put its objects back as they were."
            )
        self._store.free_space(shared.folder, total)
        shared.bytes = total
        shared.log(f"Downloading {shared.source}: {len(files)} files, {megabytes(total)}\n")
        sizes = dict(files)
        for number, name in enumerate(process.fetch(files), 1):
            done += sizes[name]
            count = f"{number}/{len(files)}, {megabytes(done)} of {megabytes(total)}"
            shared.log(f"Downloaded {name} ({count})\n")

    def _fetch_uploaded(self, shared: "SharedDownload", is_canceled: Callable[[], bool]) -> None:
        if self._storage is None:
            raise ModelUnavailable("This worker has no storage to read uploaded models from.")
        upload = UploadedModel(self._storage, shared.source.location, is_canceled)
        files = upload.files()
        chosen = wanted_files([(file.name, file.size) for file in files])
        check_files(shared, chosen, self._options.max_bytes)
        total, names = sum(size for _, size in chosen), {name for name, _ in chosen}
        self._store.free_space(shared.folder, total)
        shared.bytes = total
        shared.log(f"Fetching {shared.source}: {len(chosen)} files, {megabytes(total)}\n")
        for number, file in enumerate(files):
            if file.name in names:
                upload.fetch(number, file, shared.folder / file.name)

    def _job(self, shared: "SharedDownload") -> DownloadJob:
        source, options = shared.source, self._options
        folder = str(shared.folder)
        if source.kind == "hf":
            return DownloadJob(
                "hf",
                source.location,
                source.revision or "",
                folder,
                endpoint=options.hf_endpoint,
                token=options.hf_token,
            )
        return DownloadJob(
            "s3",
            source.location.rstrip("/") + "/",
            "",
            folder,
            endpoint=options.s3_endpoint_url,
            region=options.s3_region,
            access_key_id=options.s3_access_key_id,
            secret_access_key=options.s3_secret_access_key,
        )

    def close(self) -> None:
        """Begins nothing more; what is under way ends with this process."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class SharedDownload:
    """One source that is being downloaded, and who waits for it. `bytes` of all its files, 0 until they are
    listed."""

    def __init__(self, source: Source, folder: Path, fingerprint: str = "") -> None:
        self.source, self.folder = source, folder
        self.fingerprint, self.bytes = fingerprint, 0
        self._waiting: list[tuple[Future[str], LogLine]] = []

    def join(self, log_line: LogLine) -> "Future[str]":
        future: Future[str] = Future()
        self._waiting.append((future, log_line))
        return future

    def is_wanted(self) -> bool:
        return any(not future.cancelled() for future, _ in list(self._waiting))

    def log(self, text: str) -> None:
        for _, log_line in list(self._waiting):
            log_line(text)

    def finish(self, outcome: Callable[[], str]) -> None:
        """Gives everybody the outcome."""
        for future, _ in self._waiting:
            _complete(future, outcome)


def _completed(outcome: Callable[[], str]) -> "Future[str]":
    future: Future[str] = Future()
    _complete(future, outcome)
    return future


def _complete(future: "Future[str]", outcome: Callable[[], str]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(outcome())
    except ModelUnavailable as error:
        future.set_exception(error)


def _raise(error: ModelUnavailable) -> str:
    raise error


def check_files(shared: SharedDownload, files: Sequence[tuple[str, int]], max_bytes: int) -> None:
    """Raises ModelUnavailable for a source without files, with too many bytes, or with a name that leads out
    of its folder."""
    if not files:  # and nothing is marked as complete: they may be put there yet
        raise ModelUnavailable(f"{shared.source} holds no files.")
    total = sum(size for _, size in files)
    if max_bytes and total > max_bytes:
        raise ModelUnavailable(f"The model {too_large(total, max_bytes)} (MAX_MODEL_BYTES).")
    folder = shared.folder.resolve()
    if not all((folder / name).resolve().is_relative_to(folder) for name, _ in files):
        raise ModelUnavailable("A file of the source has an unusable name.")


def _not_downloaded(source: Source, error: Exception) -> ModelUnavailable:
    if isinstance(error, ModelUnavailable):
        return error
    reason = str(error) or type(error).__name__  # a time-out may say nothing
    log.warning("download_failed", source=str(source), reason=reason)
    return ModelUnavailable(f"{source} could not be downloaded: {reason.splitlines()[0][:300]}")


def wanted_files(files: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The files to fetch. Raises ModelUnavailable when only pickles are there."""
    kept = select_downloads(files)
    has_pickles = any(name.lower().endswith(PICKLES) for name, _ in files)
    if has_pickles and not any(name.endswith(".safetensors") for name, _ in kept):
        raise ModelUnavailable("The source has pickled weights only; Lovage loads safetensors only.")
    return kept


def megabytes(size: int) -> str:
    """1_500_000 -> 1.5 MB."""
    return f"{size / 1e6:.1f} MB"
