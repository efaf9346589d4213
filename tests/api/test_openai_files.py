"""OpenAI's files by its own client, at the addresses that Replicate's clients use as well."""

import openai
import pytest


def test_a_file_is_created_listed_read_and_deleted(api, ada, remote) -> None:
    client = remote(api, ada)
    file = client.files.create(file=("notes.txt", b"hello", "text/plain"), purpose="user_data")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", 5, "notes.txt", "user_data")
    assert isinstance(file.created_at, int)
    other = client.files.create(file=("b.jsonl", b"{}"), purpose="batch")
    assert [each.id for each in client.files.list()] == [other.id, file.id]
    assert [each.id for each in client.files.list(purpose="batch")] == [other.id]
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == b"hello"
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_others_read_the_same_file_as_before(api, ada, remote) -> None:
    file = remote(api, ada).files.create(file=("notes.txt", b"hello"), purpose="vision")
    seen = ada.http.get(f"/v1/files/{file.id}").json()
    assert (seen["name"], seen["size"], seen["metadata"]) == ("notes.txt", 5, {"purpose": "vision"})
    assert "urls" in seen


def test_a_form_without_a_file_is_refused_by_name(api, ada) -> None:
    answer = ada.http.post("/v1/files", data={"purpose": "vision"}, files={"x": b"y"})
    assert (answer.status_code, answer.json()["detail"].startswith("content")) == (422, True)
