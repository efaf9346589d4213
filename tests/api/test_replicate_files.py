"""Files as Replicate's clients depend on them, and their download by a signature."""

import base64
import hashlib
import hmac
import time
from datetime import datetime
from typing import Any

import httpx
from api_people import Person
from replicate_tables import Row, all_rows_hold, moment, text, url

FILE: dict[str, Any] = {
    "id": text,
    "name": "a.txt",
    "content_type": "text/plain",
    "size": 5,
    "etag": text,
    "created_at": moment,
    "expires_at": moment,
    "checksums.sha256": hashlib.sha256(b"hello").hexdigest(),
    "checksums.md5": text,
    "metadata": {"k": 1},
    "urls.get": url,
}


def test_files(ada: Person) -> None:
    upload = {"files": {"content": ("a.txt", b"hello", "text/plain")}, "data": {"metadata": '{"k": 1}'}}
    part = {
        "files": {
            "content": ("a.txt", b"hello", "text/plain"),
            "metadata": ("blob", b'{"k": 1}', "application/json"),
        }
    }
    named = {
        "files": {"content": ("x", b"hello")},
        "data": {"filename": "a.txt", "type": "text/plain", "metadata": '{"k": 1}'},
    }
    made = ada.http.post("/v1/files", **upload).json()
    one = f"/v1/files/{made['id']}"
    rows: list[Row] = [
        ("POST", "/v1/files", upload, 201, FILE),
        ("POST", "/v1/files", part, 201, FILE),
        ("POST", "/v1/files", named, 201, FILE),
        ("POST", "/v1/files", {"files": {"content": ("empty", b"")}}, 201, {"size": 0, "metadata": {}}),
        ("GET", one, None, 200, FILE),
        (
            "GET",
            "/v1/files",
            None,
            200,
            {"results.0.etag": text, "results.0.name": text, "next": None, "previous": None},
        ),
        ("DELETE", one, None, 204, {}),
        ("GET", one, None, 404, {"detail": text, "status": 404}),
        ("DELETE", one, None, 404, {"detail": text, "status": 404}),
    ]
    all_rows_hold(ada, rows)
    kept = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert round(kept.total_seconds() / 3600) == 24


def signature(secret: str, *parts: Any) -> str:
    return base64.b64encode(
        hmac.digest(secret.encode(), " ".join(map(str, parts)).encode(), "sha256")
    ).decode()


def test_a_file_is_downloaded_by_its_owners_signature_alone(ada: Person, anonymous: httpx.Client) -> None:
    made = ada.http.post("/v1/files", files={"content": ("a.txt", b"hello", "text/plain")}).json()
    secret, later = ada.http.get("/v1/account/file-key").json()["key"], int(time.time()) + 60
    good: dict[str, Any] = {
        "owner": "ada",
        "expiry": later,
        "signature": signature(secret, "ada", made["id"], later),
    }
    answer = anonymous.get(f"/v1/files/{made['id']}/download", params=good)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
        200,
        b"hello",
        "text/plain",
    )
    url_safe = good | {"signature": good["signature"].translate(str.maketrans("+/", "-_")).rstrip("=")}
    assert anonymous.get(f"/v1/files/{made['id']}/download", params=url_safe).status_code == 200
    past = int(time.time()) - 60
    for change in (
        {"owner": "bob"},
        {"expiry": later + 1},
        {"signature": "x"},
        {"signature": signature("other", "ada", made["id"], later)},
        {"expiry": past, "signature": signature(secret, "ada", made["id"], past)},
        {"signature": "\U0001f600é"},
        {"owner": "\x00"},
    ):
        assert anonymous.get(f"/v1/files/{made['id']}/download", params=good | change).status_code == 404, (
            change
        )
    assert anonymous.get(f"/v1/files/{'0' * 26}/download", params=good).status_code == 404
    for name in good:
        rest = {key: value for key, value in good.items() if key != name}
        refused = anonymous.get(f"/v1/files/{made['id']}/download", params=rest)
        assert (refused.status_code, name in refused.json()["detail"]) == (422, True)
