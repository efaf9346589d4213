"""Models come from folders under the roots, and from a hub spoken to by the real client library."""

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from accepting import accept, all_ended, rows
from dripping import dripping
from waiting import eventually

from app.composition_worker import model_file_options
from app.domain.errors import ModelUnavailable
from app.domain.predictions import Status
from app.domain.versions import parse_source
from app.domain.work import ModelSpec
from app.runtimes.base import Job
from app.runtimes.demo import SHIPPED
from app.runtimes.text.text_generation import TextGeneration
from app.services.catalogue.sources import SourceReader, list_bucket
from app.settings import Settings
from app.worker.model_files import ModelFiles, _not_downloaded, wanted_files

COMMIT = "c" * 40


class Hub:
    """A small hub on loopback that serves one folder as `demo/words`."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self, body: bool = True) -> None:
                outer.requests.append(self.path)
                path = unquote(self.path.partition("?")[0])
                if path.startswith("/api/models/demo/words"):
                    names = [one for one in sorted(folder.rglob("*")) if one.is_file()]
                    siblings = [
                        {"rfilename": str(one.relative_to(folder)), "size": one.stat().st_size}
                        for one in names
                    ]
                    return self._send(
                        json.dumps({"id": "demo/words", "sha": COMMIT, "siblings": siblings}).encode(),
                        {},
                        body,
                    )
                _, _, name = path.partition(f"/demo/words/resolve/{COMMIT}/")
                if not name or not (folder / name).is_file():
                    return self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, body, 404)
                content = (folder / name).read_bytes()
                head = {
                    "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "X-Repo-Commit": COMMIT,
                    "Accept-Ranges": "bytes",
                }
                return self._send(content, head, body)

            def do_HEAD(self) -> None:
                self.do_GET(body=False)

            def _send(self, content: bytes, head: dict[str, str], body: bool, status: int = 200) -> None:
                self.send_response(status)
                for key, value in {"content-length": str(len(content)), **head}.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Bucket:
    """As much of S3 on loopback as a download asks for: `files` by name, or AccessDenied while they are
    None."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] | None = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self, body: bool = True) -> None:
                path, _, asked = unquote(self.path).partition("?")
                if outer.files is None:
                    content, status = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", 403
                elif "list-type" in asked:
                    found = (
                        f"<Contents><Key>{key}</Key><Size>{len(one)}</Size>"
                        f"<ETag>{hashlib.md5(one).hexdigest()}</ETag></Contents>"
                        for key, one in outer.files.items()
                    )
                    content, status = f"<ListBucketResult>{''.join(found)}</ListBucketResult>".encode(), 200
                else:
                    content, status = outer.files[path.removeprefix("/models/")], 200
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def do_HEAD(self) -> None:
                self.do_GET(body=False)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def settings(self, settings: Settings) -> Settings:
        address = f"http://127.0.0.1:{self.server.server_port}"
        keys = {"s3_access_key_id": "a", "s3_secret_access_key": "b"}
        return settings.model_copy(update={"s3_endpoint_url": address, **keys})

    def sources(self, settings: Settings) -> ModelFiles:
        return ModelFiles(model_file_options(self.settings(settings)))


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub(SHIPPED / "words")
    yield made
    made.server.shutdown()
    made.server.server_close()


def sources(settings: Settings, hub_url: str = "http://127.0.0.1:1") -> ModelFiles:
    return ModelFiles(model_file_options(settings.model_copy(update={"hf_endpoint": hub_url})))


def test_a_model_is_downloaded_by_the_real_client_with_progress_and_runs(
    settings: Settings, hub: Hub
) -> None:
    said: list[str] = []
    files, source, seen = sources(settings, hub.url), f"hf:demo/words@{COMMIT}", set()

    def listen(text: str) -> None:
        said.append(text)
        seen.add(files.downloaded(source))

    folder = Path(files.fetch(source, listen).result())
    total = sum(file.stat().st_size for file in (SHIPPED / "words").iterdir())
    assert seen <= {(here, total) for here, _ in seen if 0 <= here <= total}
    assert max(seen)[0] > 0
    assert files.downloaded(source) is None
    assert said[0].startswith("Downloading hf:demo/words")
    assert any("model.safetensors" in line for line in said)
    model = TextGeneration.load(ModelSpec("v", "a/b", "text-generation", path=str(folder)))
    job = Job("1", {"prompt": "The whale", "max_new_tokens": 3})
    model.prepare(job)
    assert job.length > 0


def test_a_second_use_downloads_nothing(settings: Settings, hub: Hub) -> None:
    found = sources(settings, hub.url)
    first = found.fetch(f"hf:demo/words@{COMMIT}", lambda text: None).result()
    asked = len(hub.requests)
    assert found.fetch(f"hf:demo/words@{COMMIT}", lambda text: None).result() == first
    assert len(hub.requests) == asked


@pytest.mark.parametrize("source", ["hf:demo/nothing", "hf:demo/words@nosuchrevision"])
def test_what_the_hub_does_not_have_is_unavailable_with_a_sentence(
    settings: Settings, hub: Hub, source: str
) -> None:
    with pytest.raises(ModelUnavailable, match="could not be downloaded"):
        sources(settings, hub.url).fetch(source, lambda text: None).result()


def test_an_absent_hub_is_a_sentence(settings: Settings) -> None:
    with pytest.raises(ModelUnavailable, match="could not be downloaded"):
        sources(settings).fetch("hf:demo/words", lambda text: None).result()


def test_an_s3_prefix_without_files_is_no_model_and_is_looked_at_again(
    settings: Settings, bucket: Bucket
) -> None:
    found = bucket.sources(settings)
    for bucket.files in ({}, {"words/": b""}):  # the second is how consoles write an empty folder
        with pytest.raises(ModelUnavailable, match="s3://models/words holds no files"):
            found.fetch("s3://models/words", lambda text: None).result()
    bucket.files = {
        "words/": b"",
        "words/config.json": b"{}",
        "words/sub/model.safetensors": b"12",
        "words/x.bin": b"3",
    }
    folder = Path(found.fetch("s3://models/words", lambda text: None).result())
    assert sorted(str(one.relative_to(folder)) for one in folder.rglob("*.*")) == [
        ".complete",
        "config.json",
        "sub/model.safetensors",
    ]


def test_an_s3_that_refuses_is_a_sentence(settings: Settings, bucket: Bucket) -> None:
    bucket.files = None
    with pytest.raises(ModelUnavailable, match=r"s3://models/words could not be downloaded: .*AccessDenied"):
        bucket.sources(settings).fetch("s3://models/words", lambda text: None).result()


def test_an_error_without_words_is_named_by_its_kind() -> None:
    assert (
        "could not be downloaded: TimeoutError"
        in _not_downloaded(parse_source("hf:a/b"), TimeoutError()).detail
    )


def test_folders_must_lie_under_a_root(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    (tmp_path / "models" / "out").symlink_to("/etc")
    found = ModelFiles(
        model_file_options(settings.model_copy(update={"model_roots": str(tmp_path / "models")}))
    )
    assert found.fetch(f"path:{tmp_path}/models/m", lambda text: None).result() == str(
        tmp_path / "models" / "m"
    )
    assert found.fetch("none", lambda text: None).result() == ""
    for bad in (
        f"path:{tmp_path}/models/../../etc",
        "path:/etc",
        f"path:{tmp_path}/models/out",
        f"path:{tmp_path}/models/absent",
    ):
        with pytest.raises(ModelUnavailable):
            found.fetch(bad, lambda text: None).result()


def test_a_bucket_that_has_changed_is_refused_and_each_version_keeps_its_own_files(
    settings: Settings, bucket: Bucket
) -> None:
    workers, api = bucket.sources(settings), bucket.settings(settings)

    def register() -> str:
        reader = SourceReader(
            [], list_bucket=partial(list_bucket, api.s3_endpoint_url, api.s3_region, "a", "b")
        )
        return reader.inspect("s3://models/words", as_operator=True).fingerprint

    bucket.files = {"words/config.json": b"{}", "words/model.safetensors": b"12"}
    old = register()
    first = Path(workers.fetch("s3://models/words", lambda text: None, old).result())
    bucket.files = {**bucket.files, "words/model.safetensors": b"34"}
    new = register()
    assert new != old
    second = Path(workers.fetch("s3://models/words", lambda text: None, new).result())
    assert [(one / "model.safetensors").read_bytes() for one in (first, second)] == [b"12", b"34"]
    another_worker = ModelFiles(
        model_file_options(api.model_copy(update={"lovage_data_dir": settings.lovage_data_dir / "other"}))
    )
    with pytest.raises(ModelUnavailable, match="has changed since this version was registered: register it"):
        another_worker.fetch("s3://models/words", lambda text: None, old).result()
    bucket.files = None
    assert register() == "", "a server without keys leaves it to the workers"


def test_pickles_and_other_formats_are_not_fetched() -> None:
    files = [
        ("config.json", 1),
        ("model.safetensors", 9),
        ("pytorch_model.bin", 9),
        ("tf_model.h5", 9),
        ("onnx/model.onnx", 9),
        (".gitattributes", 1),
    ]
    assert [name for name, _ in wanted_files(files)] == ["config.json", "model.safetensors"]
    with pytest.raises(ModelUnavailable, match="safetensors only"):
        wanted_files([("config.json", 1), ("pytorch_model.bin", 9)])
    only_onnx = [("config.json", 1), ("onnx/model.onnx", 2), (".gitattributes", 1)]
    assert wanted_files(only_onnx) == only_onnx[:2]


def test_a_source_is_downloaded_once_for_all_who_wait_for_it(settings: Settings, hub: Hub) -> None:
    files = sources(settings, hub.url)
    lines: list[str] = []
    waiting = [files.fetch(f"hf:demo/words@{COMMIT}", lines.append) for _ in range(32)]
    waiting[0].cancel()
    assert len({future.result(30) for future in waiting[1:]}) == 1
    assert sum("/api/models/" in path for path in hub.requests) == 1
    assert len(lines) >= 32


def test_a_download_ends_when_nobody_waits_for_it_any_more(settings: Settings) -> None:
    """The hub sends a byte of a head now and then, for as long as it is listened to."""
    with dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a") as url:
        files = sources(settings, url.removesuffix("/x"))
        waiting = [files.fetch("hf:demo/words", lambda text: None) for _ in range(2)]
        eventually(children_of_this_process)
        waiting[0].cancel()
        time.sleep(0.5)
        assert files._downloads, "one still waits"
        waiting[1].cancel()
        eventually(lambda: not files._downloads and not children_of_this_process())


def children_of_this_process() -> list[str]:
    lines = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, check=False
    )
    return [line for line in lines.stdout.decode().splitlines() if "app.outbound.model_download" in line]


def test_a_model_that_is_too_large_is_not_downloaded(settings: Settings, hub: Hub) -> None:
    small = settings.model_copy(update={"hf_endpoint": hub.url, "max_model_bytes": 1_000})
    with pytest.raises(ModelUnavailable, match=r"has 0\.\d GB of files.*MAX_MODEL_BYTES"):
        ModelFiles(model_file_options(small)).fetch("hf:demo/words", lambda text: None).result()
    assert not any("/resolve/" in path for path in hub.requests)


def test_a_worker_waits_for_one_models_files_and_goes_on_with_all_else(
    parts: SimpleNamespace, settings: Settings
) -> None:
    """A burst for a model that is not here yet: other models' files are stored meanwhile, and a cancel ends
    the wait."""
    with dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a") as url:
        options = model_file_options(settings.model_copy(update={"hf_endpoint": url.removesuffix("/x")}))
        parts.preparation._model_files = ModelFiles(options)
        far = far_version(parts)
        waiting = accept(parts, *({"text": "x"} for _ in range(12)), version=far)
        parts.ending_writer.start()
        parts.intake.start()
        parts.intake.on_message(waiting[0])
        eventually(lambda: len(parts.in_flight) == 12)
        [download] = parts.preparation.downloads()
        assert (download.version, download.bytes, download.total_bytes) == (far, 0, 0)
        others = accept(parts, *({"text": "y", "file": True} for _ in range(4)))
        parts.core.lifecycle.cancel(waiting[:6])
        parts.in_flight.cancel(waiting[:6])
        parts.intake.on_message(others[0])
        eventually(all_ended(parts, others))
        assert {prediction.status for prediction in rows(parts, others)} == {Status.SUCCEEDED}
        eventually(all_ended(parts, waiting[:6]))
        assert {prediction.status for prediction in rows(parts, waiting[:6])} == {Status.CANCELED}
        parts.intake.stop()
        parts.core.lifecycle.cancel(waiting)
        parts.in_flight.cancel(waiting)
        eventually(lambda: not parts.in_flight)
        eventually(lambda: not parts.preparation.downloads())


def far_version(parts: SimpleNamespace) -> str:
    """A version of echo whose source is at the hub."""
    with parts.core.database.unit() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO versions (id, model_id, source, runtime, input_schema, output_schema, streams)"
            " SELECT %s, model_id, 'hf:demo/words', runtime, input_schema, output_schema, streams"
            " FROM versions",
            ("f" * 64,),
        )
    return "f" * 64
