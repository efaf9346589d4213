"""Downloads a model's files in a process of its own, which can be ended at any moment: the libraries of hubs
and buckets wait as long as they like, and read as slowly as they are sent to.

`Download` is the caller's end. The process lists the files, receives which of them to fetch, and says when
each has come; a JSON object a line. It ends with its caller. Knows no version, and decides nothing.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import app
from app.folder_content import hash_objects
from app.outbound.deadline import LOOK_SECONDS, Deadline

LIST_SECONDS = 60.0  # from the start of the process to its list of files
FIRST_SECONDS = 120.0  # for a download, and beside it what its bytes take at SLOWEST
SLOWEST = 200_000  # bytes a second on the whole; a 10 GB model may take 14 hours
PIPE_READ = 65_536


class DownloadFailed(Exception):
    """Its text is the library's, never empty."""


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """`kind` hf: `location` is org/name; s3: bucket and prefix in one, ending in a slash. Empty values: the
    libraries' own."""

    kind: str
    location: str
    revision: str
    folder: str
    endpoint: str = ""
    token: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""


class Download:
    """One process. Use as a context; `is_canceled` is looked at while it works. `fingerprint`: once the files
    are listed, what they are."""

    def __init__(self, job: DownloadJob, is_canceled: Callable[[], bool]) -> None:
        self._is_canceled = is_canceled
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(app.__file__).parent.parent,
            env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            start_new_session=True,  # a Ctrl-C is for the worker, which ends it
        )
        self._rest = b""
        self.fingerprint = ""
        self._write(asdict(job))

    def __enter__(self) -> "Download":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not written to it any more
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()

    def files(self) -> list[tuple[str, int]]:
        """(name, size in bytes) of what there is. Raises DownloadFailed, TimeoutError, CallCanceled."""
        answer = self._read(Deadline(LIST_SECONDS, self._is_canceled))
        self.fingerprint = hash_objects((name, size, etag) for name, size, etag in answer["files"])
        return [(name, size) for name, size, _ in answer["files"]]

    def fetch(self, files: Sequence[tuple[str, int]]) -> Iterator[str]:
        """Fetches these into the folder; the name of each when it has come. Raises as `files`."""
        seconds = FIRST_SECONDS + sum(size for _, size in files) / SLOWEST
        deadline = Deadline(seconds, self._is_canceled)
        self._write({"fetch": [name for name, _ in files]})
        for _ in files:
            yield self._read(deadline)["done"]

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died; reading says so
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _read(self, deadline: Deadline) -> dict[str, Any]:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], min(LOOK_SECONDS, deadline.left()))
            if ready:
                piece = os.read(self._process.stdout.fileno(), PIPE_READ)
                if not piece:
                    raise DownloadFailed("the process that downloads has died")
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if reason := message.get("failed"):
            raise DownloadFailed(reason)
        return message


# In the process


def main() -> None:
    """Does one job."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    lines = _lines_until_orphaned()
    job = DownloadJob(**json.loads(next(lines)))

    def answer(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        list_files, fetch = _from_hub(job) if job.kind == "hf" else _from_bucket(job)
        answer({"files": list_files()})
        for name in json.loads(next(lines))["fetch"]:
            fetch(name)
            answer({"done": name})
    except Exception as error:  # noqa: BLE001 - said to the worker, whatever a library raises
        answer({"failed": str(error) or type(error).__name__})


def _lines_until_orphaned() -> Iterator[bytes]:
    """What the caller writes. When it closes its end, or dies, this process ends."""
    lines: list[bytes] = []
    come = threading.Condition()

    def read() -> None:
        while line := sys.stdin.buffer.readline():
            with come:
                lines.append(line)
                come.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()
    while True:
        with come:
            come.wait_for(lambda: lines)
            line = lines.pop(0)
        yield line


Files = Callable[[], list[tuple[str, int, str]]]
Fetch = Callable[[str], None]


def _from_hub(job: DownloadJob) -> tuple[Files, Fetch]:
    from app.outbound.hub import HubClient

    hub, folder = HubClient(job.endpoint, job.token, saved_login=True), Path(job.folder)

    def list_files() -> list[tuple[str, int, str]]:
        files = hub.repository(job.location, job.revision).files
        return [(name, size, "") for name, size in files]  # the commit says what they are

    return list_files, lambda name: hub.download(job.location, name, job.revision, folder)


def _from_bucket(job: DownloadJob) -> tuple[Files, Fetch]:
    from app.outbound import s3

    keys = (job.access_key_id or None, job.secret_access_key or None)
    objects = s3.S3Objects(s3.connect(job.endpoint or None, job.region, *keys))
    bucket, _, prefix = job.location.partition("/")

    def list_files() -> list[tuple[str, int, str]]:
        return objects.list_objects(bucket, prefix)

    def fetch(name: str) -> None:
        target = Path(job.folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        objects.download(bucket, prefix + name, target)

    return list_files, fetch


if __name__ == "__main__":
    main()
