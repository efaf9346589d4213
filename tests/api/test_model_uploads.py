"""A model is sent in parts, in any order and again, and becomes a version that workers fetch and check."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from api_people import Person

from app.composition_worker import model_file_options
from app.domain import model_uploads
from app.domain.errors import ModelUnavailable
from app.domain.model_uploads import PART_BYTES, UploadedModelFile, list_faults
from app.settings import Settings
from app.worker.model_files import ModelFiles

CONFIG = b'{"architectures": ["BertModel"], "model_type": "bert"}'
LONG = b"0123456789abcdef" * (PART_BYTES // 16) + b"the rest"


def declared(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]


def begin(person: Person, files: dict[str, bytes], name: str = "mine") -> dict[str, Any]:
    answer = person.http.post(f"/v1/models/{person.name}/{name}/upload", json={"files": declared(files)})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def put(person: Person, upload: dict[str, Any], file: int, part: int, content: bytes) -> int:
    address = f"/v1/models/{upload['model']}/upload/{upload['id']}/{file}/{part}"
    return person.http.put(address, content=content).status_code


def register(person: Person, upload: dict[str, Any]) -> Any:
    version = {"source": upload["source"], "runtime": "echo"}
    return person.http.post("/v1/models", json={"name": "mine", "version": version})


@pytest.fixture
def fetched(api, api_settings: Settings, tmp_path: Path) -> Any:
    """The folder that a worker has of an upload."""
    options = model_file_options(api_settings.model_copy(update={"model_cache_dir": tmp_path}))
    files = ModelFiles(options, storage=api.services.storage)
    yield lambda upload: Path(files.fetch(upload["source"], print).result(timeout=20))
    files.close()


def test_a_model_is_sent_in_parts_goes_on_after_a_break_and_is_fetched_whole(
    ada: Person, bob: Person, echo: Any, fetched: Any
) -> None:
    files = {"config.json": CONFIG, "sub/notes.txt": LONG, "empty.txt": b""}
    upload = begin(ada, files)
    assert [file["missing"] for file in upload["files"]] == [[0], [0, 1], []]
    assert put(ada, upload, 1, 1, LONG[PART_BYTES:]) == 204
    assert put(ada, upload, 0, 0, CONFIG) == 204
    assert put(ada, upload, 1, 0, b"too short") == 422
    assert put(ada, upload, 1, 2, b"x") == put(ada, upload, 9, 0, b"x") == 404
    assert put(bob, upload, 1, 0, LONG[:PART_BYTES]) == 404
    refused = register(ada, upload)
    assert (refused.status_code, "parts missing: 1" in refused.json()["detail"]) == (422, True)
    again = begin(ada, files)
    assert (again["id"], [file["missing"] for file in again["files"]]) == (upload["id"], [[], [0], []])
    assert put(ada, upload, 1, 0, LONG[:PART_BYTES]) == 204
    assert ada.http.get(f"/v1/models/ada/mine/upload/{upload['id']}").json()["is_complete"]
    assert register(bob, upload).status_code == 422, "somebody else's is none"
    made = register(ada, upload)
    assert made.status_code == 201, made.text
    assert made.json()["latest_version"]["source"] == upload["source"]
    folder = fetched(upload)
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert ada.http.delete(f"/v1/models/ada/mine/upload/{upload['id']}").status_code == 409


def test_a_file_that_is_not_what_was_declared_is_refused_at_the_load(
    ada: Person, echo: Any, fetched: Any, api: Any
) -> None:
    upload = begin(ada, {"config.json": CONFIG})
    assert put(ada, upload, 0, 0, CONFIG.replace(b"Bert", b"Bart")) == 204
    with pytest.raises(ModelUnavailable, match="is not what was declared"):
        fetched(upload)
    assert ada.http.delete(f"/v1/models/ada/mine/upload/{upload['id']}").status_code == 204
    with pytest.raises(ModelUnavailable, match="has been removed"):
        fetched(upload)
    assert list(api.services.storage.list(model_uploads.prefix(upload["id"]))) == []


def test_an_upload_counts_towards_the_quota_until_it_is_removed(
    ada: Person, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = api.services.versions.uploads._limits
    monkeypatch.setattr(api.services.versions.uploads, "_limits", type(limits)(quota=len(CONFIG)))
    upload = begin(ada, {"config.json": CONFIG})
    more = ada.http.post("/v1/models/ada/other/upload", json={"files": declared({"a.txt": b"x"})})
    assert (more.status_code, "UPLOAD_QUOTA_BYTES" in more.json()["detail"]) == (429, True)
    ada.http.delete(f"/v1/models/ada/mine/upload/{upload['id']}")
    begin(ada, {"a.txt": b"x"}, "other")


def test_a_command_pushes_a_folder_and_sends_no_part_twice(
    run_as: Any, ada: Person, echo: Any, api: Any, tmp_path: Path
) -> None:
    files = {"config.json": CONFIG, "sub/notes.txt": LONG}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    upload = begin(ada, files)
    sent_before = b"x" * PART_BYTES
    assert put(ada, upload, 1, 0, sent_before) == 204
    run = run_as(ada)
    pushed = run("models", "push", str(tmp_path), "--name", "mine", "--runtime", "echo")
    assert (pushed.exit_code, "ada/mine:" in pushed.output) == (0, True), pushed.output
    made = ada.http.get("/v1/models/ada/mine").json()
    assert made["latest_version"]["source"] == upload["source"]
    kept, _, _ = api.services.storage.open(model_uploads.part_key(upload["id"], 1, 0))
    assert b"".join(kept) == sent_before
    misnamed = run("models", "push", str(tmp_path), "--name", "My Model")
    assert (misnamed.exit_code, "--name: 'My Model' must be" in misnamed.output) == (2, True), misnamed.output
    nowhere = run("models", "push", str(tmp_path / "nowhere"))
    assert (nowhere.exit_code, "is no folder" in nowhere.output) == (2, True), nowhere.output


def test_nobody_uploads_under_anothers_name(ada: Person, admin: Person) -> None:
    body = {"files": declared({"config.json": CONFIG})}
    assert ada.http.post("/v1/models/bob/mine/upload", json=body).status_code == 403
    assert admin.http.post("/v1/models/bob/mine/upload", json=body).status_code == 200


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("../out", "files.0.name"),
        ("/etc/passwd", "files.0.name"),
        (".complete", "files.0.name"),
        ("a//b", "files.0.name"),
        ("a\\b", "files.0.name"),
        ("b", "files.0.name"),
        ("b/c", "files.1.name"),
    ],
)
def test_a_name_that_leads_elsewhere_or_is_there_twice_is_named(name: str, field: str) -> None:
    files = [UploadedModelFile(name, 1, "0" * 64), UploadedModelFile("b", 1, "0" * 64)]
    assert field in [fault for fault, _ in list_faults(files)]
