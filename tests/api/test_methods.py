"""HEAD, OPTIONS and errors across origins, as monitors, proxies and browsers meet them."""

import pytest

from app.api.model_calls.answer_stream import encode_event


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/openapi.json", "/docs"])
def test_head_is_answered_as_get_without_a_body(api, ada, path) -> None:
    head, get = ada.http.head(path), ada.http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["x-request-id"]


def test_head_of_a_file_and_of_a_stream_ends_at_once(api, ada, echo) -> None:
    file = ada.http.post("/v1/files", files={"content": ("a.txt", b"abc")}).json()
    head = ada.http.head(file["urls"]["get"] + "/content")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3", b"")
    stream = ada.run("ada/echo", text="a")["urls"]["stream"]
    assert ada.http.head(stream).headers["content-type"].startswith("text/event-stream")
    assert ada.http.head("/v1/chat/completions").status_code == 405, "HEAD is only where GET is"


def test_options_says_what_an_address_takes(api, ada) -> None:
    answer = ada.http.options("/v1/models")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST, QUERY")
    refused = ada.http.put("/v1/models")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST, QUERY")
    assert ada.http.options("/v1/nothing").status_code == 404


def test_a_browser_elsewhere_may_read_errors_even_a_fault_of_ours(start_server, ada, monkeypatch) -> None:
    server = start_server(cors_origins="https://app.example")
    origin = {"Origin": "https://app.example"}

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(server.services.catalogue, "page", fail)
    answers = {
        401: ada.http.get(f"{server.url}/v1/predictions", headers={**origin, "Authorization": "Bearer x"}),
        404: ada.http.get(f"{server.url}/v1/nothing", headers=origin),
        413: ada.http.post(f"{server.url}/v1/completions", content=b"x" * 1_000_001, headers=origin),
        500: ada.http.get(f"{server.url}/v1/models", headers=origin),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["x-request-id"]


def test_line_ends_of_unicode_are_escaped_in_events() -> None:
    event = encode_event({"text": "a\u2028b\u2029c\x85d"})
    assert event == b'data: {"text":"a\\u2028b\\u2029c\\u0085d"}\n\n'
    assert len(event.decode().strip().splitlines()) == 1
