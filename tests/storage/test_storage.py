"""One contract for every storage: memory, a folder, and a real S3 server."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest

from app.composition_core import storage_options
from app.domain.errors import NotFound, StorageFailed
from app.local.ports import choose_port
from app.outbound.s3 import CONFIG
from app.settings import Settings
from app.storage import open_storage
from app.storage.base import Storage
from app.storage.local import LocalStorage
from app.storage.memory import MemoryStorage
from app.storage.s3 import S3Storage
from app.storage.signing import UrlSigner

ACCESS, SECRET = "lovage-tests-access", "lovage-tests-secret-key"
BASE = "http://lovage.test"


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory) -> Iterator[str]:
    """rclone's S3 server over a folder, with signatures checked."""
    folder, port = tmp_path_factory.mktemp("s3"), choose_port()
    rclone = Path(sys.executable).with_name("rclone")
    command = [
        str(rclone),
        "serve",
        "s3",
        str(folder),
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{ACCESS},{SECRET}",
    ]
    server = subprocess.Popen(
        command, env={**os.environ, "RCLONE_CONFIG": str(folder / "none")}, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=CONFIG,
    )
    for _ in range(100):
        try:
            client.create_bucket(Bucket="lovage-tests")
            break
        except Exception:  # noqa: BLE001 - the server is not up yet
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture(params=["memory", "local", "s3"])
def storage(request, tmp_path: Path) -> Storage:
    if request.param == "memory":
        return MemoryStorage(UrlSigner("secret"))
    if request.param == "local":
        return LocalStorage(tmp_path / "files", UrlSigner("secret"))
    url = request.getfixturevalue("s3_url")
    prefix = tmp_path.name
    return S3Storage(
        "lovage-tests", prefix=prefix, endpoint_url=url, access_key_id=ACCESS, secret_access_key=SECRET
    )


def content(storage: Storage, key: str, part: tuple[int, int] | None = None) -> bytes:
    blocks, _, _ = storage.open(key, part)
    return b"".join(blocks)


def test_a_signed_link_is_followed_where_callers_reach_the_server(s3_url: str) -> None:
    public = s3_url.replace("127.0.0.1", "localhost")
    keys = {"access_key_id": ACCESS, "secret_access_key": SECRET}
    storage = S3Storage("lovage-tests", endpoint_url=s3_url, public_url=public, **keys)
    storage.put("seen/from/outside.txt", b"a picture", "text/plain")
    link = storage.url("seen/from/outside.txt", 60, BASE)
    assert link.startswith(public + "/")
    assert httpx.get(link).content == b"a picture"
    own = httpx.get(link.replace("localhost", "127.0.0.1"))
    assert own.status_code == 403, "a signature holds for one address of the server only"


def test_what_was_put_is_read_back_with_its_size_and_type(storage: Storage) -> None:
    storage.put("outputs/a/1/x.png", b"\x89PNG", "image/png")
    blocks, size, kind = storage.open("outputs/a/1/x.png")
    assert (b"".join(blocks), size, kind) == (b"\x89PNG", 4, "image/png")


def test_a_file_on_disk_is_stored(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(700_000))
    storage.put("big.bin", path, "application/octet-stream")
    assert content(storage, "big.bin") == path.read_bytes()


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    storage.put("empty.txt", b"", "text/plain")
    assert storage.exists("empty.txt")
    assert content(storage, "empty.txt") == b""


def test_a_part_is_read_and_the_size_is_the_whole_files(storage: Storage) -> None:
    storage.put("part.txt", b"0123456789", "text/plain")
    blocks, size, _ = storage.open("part.txt", (2, 5))
    assert (b"".join(blocks), size) == (b"2345", 10)


def test_a_second_put_replaces(storage: Storage) -> None:
    storage.put("k", b"one", "text/plain")
    storage.put("k", b"two!", "text/plain")
    assert content(storage, "k") == b"two!"


def test_absent_keys_are_not_found_and_deleting_them_is_no_error(storage: Storage) -> None:
    assert not storage.exists("nothing")
    with pytest.raises(NotFound):
        storage.open("nothing")
    storage.delete(["nothing"])


def test_keys_are_listed_by_prefix_and_deleted(storage: Storage) -> None:
    for key in ("outputs/a/1/x", "outputs/a/2/y", "outputs/b/1/z"):
        storage.put(key, b"x", "text/plain")
    assert list(storage.list("outputs/a/")) == ["outputs/a/1/x", "outputs/a/2/y"]
    storage.delete(list(storage.list("outputs/a/")))
    assert list(storage.list("outputs/")) == ["outputs/b/1/z"]


BAD_KEYS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a//b",
    "a/./b",
    "a\x00b",
    "a\\b",
    "a/" * 299 + "b",
    "a\ud800b",
    "x" * 300,
    "é" * 200,
    ".types/a",
    ".partial/a",
    ".hidden",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_are_no_names_are_not_found(storage: Storage, key: str) -> None:
    with pytest.raises(NotFound):
        storage.put(key, b"x", "text/plain")
    with pytest.raises(NotFound):
        storage.open(key)
    with pytest.raises(NotFound):
        storage.exists(key)


def test_names_that_are_not_ascii_are_names(storage: Storage) -> None:
    storage.put("outputs/a/1/Bild ü 图.png", b"x", "image/png")
    assert list(storage.list("outputs/a/")) == ["outputs/a/1/Bild ü 图.png"]
    assert content(storage, "outputs/a/1/Bild ü 图.png") == b"x"


def test_a_source_that_is_not_there_is_a_storage_failure_without_a_path(
    storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(StorageFailed) as caught:
        storage.put("x", tmp_path / "absent", "text/plain")
    assert str(tmp_path) not in caught.value.detail
    assert not storage.exists("x")


def test_a_url_of_a_real_s3_server_needs_no_credential_and_cannot_be_changed(s3_url: str) -> None:
    storage = S3Storage("lovage-tests", endpoint_url=s3_url, access_key_id=ACCESS, secret_access_key=SECRET)
    storage.put("signed.txt", b"signed", "text/plain")
    url = storage.url("signed.txt", 60, BASE)
    assert httpx.get(url, trust_env=False).content == b"signed"
    assert httpx.get(url.replace("signed.txt", "other.txt"), trust_env=False).status_code == 403
    assert httpx.get(url.partition("?")[0], trust_env=False).status_code in (400, 403)


def test_a_signed_s3_url_can_carry_any_file_name(s3_url: str) -> None:
    storage = S3Storage("lovage-tests", endpoint_url=s3_url, access_key_id=ACCESS, secret_access_key=SECRET)
    query = parse_qs(urlsplit(storage.url("a", 60, BASE, 'a"; b\r\nx: ü')).query)
    assert query["response-content-disposition"] == [
        "attachment; filename*=UTF-8''a%22%3B%20b%0D%0Ax%3A%20%C3%BC"
    ]


class CuttingServer:
    """Speaks just enough S3 to break off a download, or to refuse to delete one of the files."""

    def __init__(self, answer: bytes) -> None:
        self._answer, self._socket = answer, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            connection.recv(65536)
            connection.sendall(self._answer)
            connection.close()


def test_a_download_that_breaks_off_is_a_storage_failure() -> None:
    server = CuttingServer(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
    storage = S3Storage("b00", endpoint_url=server.url, access_key_id=ACCESS, secret_access_key=SECRET)
    blocks, _, _ = storage.open("x")
    with pytest.raises(StorageFailed):
        b"".join(blocks)


def test_a_file_that_s3_does_not_delete_is_a_storage_failure() -> None:
    said = b"<DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    server = CuttingServer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))
    storage = S3Storage("b00", endpoint_url=server.url, access_key_id=ACCESS, secret_access_key=SECRET)
    with pytest.raises(StorageFailed, match="did not delete"):
        storage.delete(["x"])


def test_an_s3_server_that_is_away_is_a_storage_failure() -> None:
    storage = S3Storage(
        "b00",
        endpoint_url=f"http://127.0.0.1:{choose_port()}",
        access_key_id=ACCESS,
        secret_access_key=SECRET,
    )
    with pytest.raises(StorageFailed):
        storage.put("x", b"x", "text/plain")


def test_our_own_urls_are_signed_for_one_key_and_for_a_while() -> None:
    signer = UrlSigner("secret")
    url = urlsplit(signer.url("outputs/a b/1.png", 60, BASE))
    assert url.path == "/v1/files/content/outputs/a%20b/1.png"
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    expires, signature = int(query["expires"]), query["signature"]
    assert signer.verify("outputs/a b/1.png", expires, signature)
    assert not signer.verify("outputs/a b/2.png", expires, signature)
    assert not signer.verify("outputs/a b/1.png", expires + 60, signature)
    assert not UrlSigner("another").verify("outputs/a b/1.png", expires, signature)
    past = int(time.time()) - 1
    assert not signer.verify("x", past, signer.signature("x", past))


def test_a_full_or_forbidden_disk_is_a_storage_failure_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    storage = LocalStorage(tmp_path / "file", UrlSigner("secret"))
    with pytest.raises(StorageFailed) as caught:
        storage.put("x", b"x", "text/plain")
    assert str(tmp_path) not in caught.value.detail


def test_a_failed_put_leaves_nothing_behind(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "files", UrlSigner("secret"))
    with pytest.raises(StorageFailed):
        storage.put("x", tmp_path / "absent", "text/plain")
    assert not storage.exists("x")
    assert list((tmp_path / "files" / ".partial").iterdir()) == []


def test_a_file_is_stored_while_its_last_neighbour_is_deleted(tmp_path: Path) -> None:
    """An emptied folder is removed; it must not go from under a file that is just being put into it."""
    storage = LocalStorage(tmp_path / "files", UrlSigner("secret"))

    def put_and_delete(number: int) -> None:
        for turn in range(100):
            key = f"files/{number}-{turn}"
            storage.put(key, b"x" * 10_000, "text/plain")
            assert content(storage, key) == b"x" * 10_000
            storage.delete([key])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put_and_delete, range(4)))
    assert list(storage.list("files/")) == []


def test_a_file_that_cannot_be_deleted_is_a_storage_failure(tmp_path: Path) -> None:
    """A loop of links fails for root too; missing permissions would not."""
    (tmp_path / "loop").symlink_to("loop")
    storage = LocalStorage(tmp_path, UrlSigner("secret"))
    with pytest.raises(StorageFailed):
        storage.delete(["loop/x"])


@pytest.mark.parametrize(
    ("name", "kind"), [("memory", MemoryStorage), ("local", LocalStorage), ("s3", S3Storage)]
)
def test_the_setting_chooses_the_storage(settings: Settings, name: str, kind: type) -> None:
    chosen = settings.model_copy(update={"storage": name, "s3_bucket": "b00"})
    assert isinstance(open_storage(storage_options(chosen)), kind)
