"""Ollama's own client."""

import json
import os
import time

import httpx
import ollama

REQUIRES = ("ollama==0.6.1",)
CALLS = (
    "ollama.generate",
    "ollama.chat",
    "ollama.embed",
    "ollama.embeddings",
    "ollama.tags",
    "ollama.show",
    "ollama.ps",
    "ollama.version",
)
URL, TEXT, EMBED, CALLER = (os.environ[name] for name in ("LOVAGE_URL", "TEXT", "EMBED", "CALLER"))
SEER = os.environ.get("SEER")  # not where only the ordinary tests' models are
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # red
HEADERS = {"Authorization": f"Bearer {os.environ['LOVAGE_KEY']}"}
HELLO = [{"role": "user", "content": "Hello"}]
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
      a: The first.
      b: The second.
    """
    return a + b


def main() -> None:
    client = ollama.Client(URL, headers=HEADERS)
    eight = {"num_predict": 8, "temperature": 0}
    whole = client.chat(TEXT, messages=HELLO, options=eight)
    assert (whole.eval_count, whole.done_reason) == (8, "length")
    parts = list(client.chat(TEXT, messages=HELLO, options=eight, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert client.generate(TEXT, "The whale", raw=True, options=eight).response
    assert 0 <= json.loads(client.generate(TEXT, "A number", format=NUMBER).response)["n"] <= 9
    assert client.chat(CALLER, messages=HELLO, tools=[add], options=eight).done
    assert len(client.embed(EMBED, ["a", "b"]).embeddings) == 2
    assert client.embeddings(EMBED, "a").embedding
    assert f"{TEXT}:latest" in [model.model for model in client.list().models]
    assert "completion" in (client.show(TEXT).capabilities or [])
    wait_until_held(client)
    assert httpx.get(f"{URL}/api/version", headers=HEADERS).json()["version"]
    if SEER:
        shown = [{**HELLO[0], "images": [DOT]}]
        assert (client.chat(SEER, messages=shown, options=eight).prompt_eval_count or 0) > 16
        assert "vision" in (client.show(SEER).capabilities or [])
    try:
        client.chat("nobody/none", messages=HELLO)
    except ollama.ResponseError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("a model that is not there has answered")


def wait_until_held(client: ollama.Client) -> None:
    """A worker says every few seconds which models it holds."""
    until = time.monotonic() + 60
    while f"{TEXT}:latest" not in [model.model for model in client.ps().models]:
        assert time.monotonic() < until, "no worker says that it holds the model that has just answered"
        time.sleep(0.2)


if __name__ == "__main__":
    main()
