"""Files over HTTP."""

import hashlib
import json
import time

import pytest

from app.storage.signing import UrlSigner


def upload(person, content=b"hello", name="a.txt", kind="text/plain", **data):
    return person.http.post("/v1/files", files={"content": (name, content, kind)}, data=data)


def test_a_file_is_kept_with_its_measures(ada):
    answer = upload(ada, metadata=json.dumps({"k": [1]}))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["content_type"], made["size"], made["metadata"]) == (
        "a.txt",
        "text/plain",
        5,
        {"k": [1]},
    )
    assert made["checksums"]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert made["urls"]["get"].endswith(f"/v1/files/{made['id']}")
    assert ada.http.get(made["urls"]["get"]).json() == made
    assert ada.http.get(made["urls"]["content"]).content == b"hello"
    assert [one["id"] for one in ada.http.get("/v1/files").json()["results"]] == [made["id"]]
    assert ada.http.delete(made["urls"]["get"]).status_code == 204
    assert ada.http.get(made["urls"]["get"]).status_code == 404


def test_metadata_may_be_a_json_part_and_a_file_may_be_empty(ada):
    parts = {
        "content": ("e.bin", b"", "application/x"),
        "metadata": ("metadata", b'{"a": 1}', "application/json"),
    }
    made = ada.http.post("/v1/files", files=parts)
    assert (made.status_code, made.json()["size"], made.json()["metadata"]) == (201, 0, {"a": 1})


@pytest.mark.parametrize("metadata", ["[1]", "{", '{"a": NaN}', '{"a": "\\u0000"}', "x" * 70_000])
def test_wrong_metadata_is_refused_by_name(ada, metadata):
    answer = upload(ada, metadata=metadata)
    assert (answer.status_code, "metadata" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("charset", "status"), [("utf-8", 201), ("utf-7", 422), ("undefined", 422), ("latin-1", 422)]
)
def test_texts_beside_a_file_are_utf_8(ada, charset, status):
    parts = (
        'name="content"; filename="a"\r\n\r\nhello',
        'name="filename"\r\n\r\n+2AA-',
    )  # in UTF-7 half a surrogate pair
    body = "".join(f"--x\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--x--\r\n"
    headers = {
        "Content-Type": f"multipart/form-data; boundary=x; charset={charset}",
        "Idempotency-Key": charset,
    }
    assert ada.http.post("/v1/files", content=body.encode(), headers=headers).status_code == status


def test_a_file_without_content_or_too_large_is_refused(ada):
    assert ada.http.post("/v1/files", data={"metadata": "{}"}).status_code == 422
    assert ada.http.post("/v1/files", files={"other": b"x"}).status_code == 422
    assert ada.http.post("/v1/files", json={}).status_code == 422
    assert upload(ada, b"x" * 2_000_001).status_code == 413
    assert upload(ada, b"x" * 3_000_000).status_code == 413
    assert upload(ada, b"x" * 2_000_000).status_code == 201


def test_a_name_cannot_point_anywhere(ada):
    made = upload(ada, name="../../etc/pass\\wd\r\nX: y").json()
    assert not set("/\\\r\n") & set(made["name"])


def test_somebody_elses_file_does_not_exist(ada, bob):
    made = upload(ada).json()
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert bob.http.request(method, f"/v1/files/{made['id']}{path}").status_code == 404
    assert bob.http.get("/v1/files").json()["results"] == []


def signed(api_settings, key, seconds=60):
    return UrlSigner(api_settings.secret_key).url(key, seconds, "")


def test_a_signed_url_needs_nothing_else_and_serves_ranges(api, api_settings, anonymous):
    storage = api.services.storage
    storage.put("outputs/x/0.png", b"0123456789", "image/png")
    url = signed(api_settings, "outputs/x/0.png")
    whole = anonymous.get(url)
    assert (whole.content, whole.headers["content-type"]) == (b"0123456789", "image/png")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"].startswith("inline")
    for asked, content in (("bytes=2-4", b"234"), ("bytes=-3", b"789"), ("bytes=8-99", b"89")):
        part = anonymous.get(url, headers={"Range": asked})
        assert (part.status_code, part.content) == (206, content), asked
    assert anonymous.get(url, headers={"Range": "bytes=50-60"}).status_code in (200, 416)


def test_a_script_is_saved_and_not_shown(api, api_settings, anonymous):
    api.services.storage.put("outputs/x/1.html", b"<script>", "text/html")
    answer = anonymous.get(signed(api_settings, "outputs/x/1.html"))
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_changed_or_expired_url_is_refused(api, api_settings, anonymous):
    api.services.storage.put("outputs/x/2.txt", b"x", "text/plain")
    url = signed(api_settings, "outputs/x/2.txt")
    assert anonymous.get(url).status_code == 200
    assert anonymous.get(url.replace("2.txt", "0.png")).status_code == 404
    assert anonymous.get(url[:-3] + "xxx").status_code == 404
    past = int(time.time()) - 10
    signature = UrlSigner(api_settings.secret_key).signature("outputs/x/2.txt", past)
    gone = anonymous.get(f"/v1/files/content/outputs/x/2.txt?expires={past}&signature={signature}")
    assert gone.status_code == 404
    for path in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "a%00b", "//etc/passwd", "..%2f..%2fetc"):
        assert anonymous.get(f"/v1/files/content/{path}?expires=9999999999&signature=x").status_code == 404
    assert anonymous.get(signed(api_settings, "outputs/x/never.txt")).status_code == 410
