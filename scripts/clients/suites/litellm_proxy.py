"""litellm's proxy in front of Lovage: callers speak OpenAI's and Anthropic's APIs to it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai

# The newest release whose proxy's own packages the registry has.
REQUIRES = ("litellm[proxy]==1.108.7", "openai==3.52.0")
CALLS = (
    "openai.chat.completions.create",
    "openai.completions.create",
    "openai.embeddings.create",
    "openai.images.generate",
    "openai.responses.create",
    "rerank.create",
)
KEY = "sk-of-the-proxy"
HELLO = [{"role": "user", "content": "Hello"}]
NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "add", "parameters": NUMBER}}
SECONDS = 120  # until the proxy answers: its imports take most of it


def served(name: str, model: str, **more: str) -> dict[str, object]:
    """A model of the proxy's list."""
    place = {"api_base": os.environ["LOVAGE_URL"] + "/v1", "api_key": os.environ["LOVAGE_KEY"]}
    return {"model_name": name, "litellm_params": {"model": model, **place, **more}}


def configuration() -> dict[str, object]:
    text, caller, embed, draw, ranker = (
        os.environ[name] for name in ("TEXT", "CALLER", "EMBED", "DRAW", "RANKER")
    )
    models = [
        served("words", f"openai/{text}"),
        served("caller", f"openai/{caller}"),
        served("old-words", f"text-completion-openai/{text}"),
        served("vectors", f"openai/{embed}"),
        served("pictures", f"openai/{draw}"),
        served("ranks", f"jina_ai/{ranker}", api_base=os.environ["LOVAGE_URL"] + "/v1/rerank"),
        served("nothing", "openai/nobody/none"),
    ]
    return {
        "model_list": models,
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": 0},
    }


@contextmanager
def proxy() -> Iterator[str]:
    """Its address, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = Path(os.environ["SCRATCH"]) / "proxy.yaml"
    file.write_text(json.dumps(configuration()), "utf-8")  # JSON is YAML
    command = [Path(sys.executable).parent / "litellm", "--config", file]
    started = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)])
    try:
        yield wait_until_it_answers(f"http://127.0.0.1:{port}", started)
    finally:
        started.terminate()
        started.wait(30)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=2).is_success:
                return url
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError("the proxy does not answer")


def main() -> None:
    with proxy() as url:
        client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
        chat(client)
        tools(client)
        others(client, url)
        messages(url)
        errors(client)


def chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="words", messages=HELLO, max_tokens=4, user="ada")
    assert whole.usage.completion_tokens == 4
    parts = list(client.chat.completions.create(model="words", messages=HELLO, max_tokens=4, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": NUMBER, "strict": True}}
    answer = client.chat.completions.create(
        model="words", messages=HELLO, max_tokens=200, response_format=form
    )
    assert 0 <= json.loads(answer.choices[0].message.content)["n"] <= 9


def tools(client: openai.OpenAI) -> None:
    forced = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
    answer = client.chat.completions.create(model="caller", messages=HELLO, **forced)
    call = answer.choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"n"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "2"}
    history = [*HELLO, answer.choices[0].message.model_dump(), result]
    assert client.chat.completions.create(model="caller", messages=history, tools=[TOOL], max_tokens=4).id
    parts = client.chat.completions.create(model="caller", messages=HELLO, stream=True, **forced)
    assert any(part.choices and part.choices[0].delta.tool_calls for part in parts)


def others(client: openai.OpenAI, url: str) -> None:
    assert client.completions.create(model="old-words", prompt="The whale", max_tokens=4).choices[0].text
    assert len(client.embeddings.create(model="vectors", input=["a", "b"]).data) == 2
    assert client.images.generate(model="pictures", prompt="seven").data[0].url
    assert client.responses.create(model="words", input="Hello", max_output_tokens=4).output
    body = {"model": "ranks", "query": "What is celery?", "documents": ["A whale.", "A plant."], "top_n": 1}
    answer = httpx.post(f"{url}/rerank", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert len(answer.raise_for_status().json()["results"]) == 1


def messages(url: str) -> None:
    """Anthropic's API at the proxy, whole and streamed."""
    body = {"model": "words", "max_tokens": 4, "messages": HELLO}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    whole = httpx.post(f"{url}/v1/messages", json=body, headers=headers, timeout=60).raise_for_status().json()
    assert whole["content"][0]["text"]
    streamed = httpx.post(f"{url}/v1/messages", json={**body, "stream": True}, headers=headers, timeout=60)
    assert "message_stop" in streamed.raise_for_status().text


def errors(client: openai.OpenAI) -> None:
    for raised, changes in (
        (openai.NotFoundError, {"model": "nothing"}),
        (openai.BadRequestError, {"model": "words", "max_tokens": -1}),
    ):
        try:
            client.chat.completions.create(**{"messages": HELLO, **changes})
        except raised:
            continue
        raise AssertionError(f"no {raised.__name__}")


if __name__ == "__main__":
    main()
