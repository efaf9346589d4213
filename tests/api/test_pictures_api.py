"""Pictures in conversations, as each platform's clients send them: the model gets them in one form."""

from typing import Any

import pytest

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
RED = f"data:image/png;base64,{DOT}"
BLUE = "https://example.com/blue.png"
ASK = {"type": "text", "text": "What is it?"}
SHOWN = [{"role": "user", "content": [{"type": "image"}, ASK]}]


def openai_part(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def anthropic_part(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


BASE64 = anthropic_part(type="base64", media_type="image/png", data=DOT)
BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"messages": user(openai_part(RED), ASK)}, RED),
    ("/v1/chat/completions", {"messages": user({"type": "image_url", "image_url": BLUE}, ASK)}, BLUE),
    (
        "/v1/responses",
        {
            "input": user(
                {"type": "input_image", "image_url": RED, "detail": "auto"}, {**ASK, "type": "input_text"}
            )
        },
        RED,
    ),
    ("/v1/messages", {"max_tokens": 5, "messages": user(BASE64, ASK)}, RED),
    ("/v1/messages", {"max_tokens": 5, "messages": user(anthropic_part(type="url", url=BLUE), ASK)}, BLUE),
    (
        "/api/chat",
        {"messages": [{"role": "user", "content": ASK["text"], "images": [DOT]}], "stream": False},
        f"data:application/octet-stream;base64,{DOT}",
    ),
    (
        "/api/generate",
        {"prompt": ASK["text"], "images": [DOT], "stream": False},
        f"data:application/octet-stream;base64,{DOT}",
    ),
]


@pytest.mark.parametrize(("path", "body", "url"), BODIES)
def test_a_picture_reaches_a_model_that_sees(ada, worker, seer, path, body, url) -> None:
    answer = ada.http.post(path, json={"model": seer, **body})
    assert answer.status_code == 200, answer.text
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert (prediction["input"]["messages"], prediction["input"]["images"]) == (SHOWN, [url])


@pytest.mark.parametrize(("path", "body", "url"), BODIES)
def test_a_model_that_reads_text_only_refuses_the_picture_by_name(ada, talker, path, body, url) -> None:
    answer = ada.http.post(path, json={"model": talker(), **body})
    assert answer.status_code == 400
    assert "is a picture" in answer.text
    assert "0." in answer.text or "images.0" in answer.text, "its place is named"


def test_a_response_goes_on_from_one_with_a_picture(ada, worker, seer) -> None:
    first = ada.http.post("/v1/responses", json={"model": seer, **BODIES[2][1]}).json()
    more = user({"type": "input_image", "image_url": BLUE})
    body = {"model": seer, "input": more, "previous_response_id": first["id"]}
    assert ada.http.post("/v1/responses", json=body).status_code == 200
    newest = ada.http.get("/v1/predictions").json()["results"][0]["input"]
    assert newest["images"] == [RED, BLUE]
    assert [message["role"] for message in newest["messages"]] == ["user", "assistant", "user"]
    assert newest["messages"][::2] == [*SHOWN, {"role": "user", "content": [{"type": "image"}]}]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            "/v1/chat/completions",
            {"messages": user(openai_part("file:///x"))},
            "messages.0.content.0.image_url",
        ),
        ("/v1/chat/completions", {"messages": user({"type": "input_audio"})}, "messages.0.content.0.type"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "system", "content": [openai_part(RED)]}]},
            "messages.0.content.0.type",
        ),
        (
            "/v1/messages",
            {"max_tokens": 5, "messages": user(anthropic_part(type="file", file_id="x"))},
            "messages.0.content.0.source.type",
        ),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "images": [RED]}, "images"),
    ],
)
def test_what_is_no_picture_that_can_be_had_is_refused_by_name(ada, seer, path, body, words) -> None:
    answer = ada.http.post(path, json={"model": seer, **body})
    assert answer.status_code == 400
    assert words in answer.text


def test_a_picture_of_an_address_within_is_refused_as_any_file_is(ada, seer) -> None:
    body = {"model": seer, "messages": user(openai_part("http://127.0.0.1/x.png"))}
    answer = ada.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "images"), answer.text
