"""litellm's library: chat, streams, tools, texts, embeddings, rerank, pictures, sound, responses."""

import asyncio
import io
import json
import os
import wave

import litellm

REQUIRES = ("litellm==1.110.2",)
CALLS = (
    "openai.chat.completions.create",
    "openai.completions.create",
    "openai.embeddings.create",
    "openai.images.generate",
    "openai.audio.transcriptions.create",
    "openai.responses.create",
    "anthropic.messages.create",
    "ollama.chat",
    "rerank.create",
    "rerank.cohere",
)
TEXT, CALLER, EMBED, DRAW, RANKER, EAR = (
    os.environ.get(name, "") for name in ("TEXT", "CALLER", "EMBED", "DRAW", "RANKER", "EAR")
)
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["n"],
            "additionalProperties": False,
        },
    },
}
NUMBER = {"name": "number", "schema": TOOL["function"]["parameters"], "strict": True}
Place = dict[str, str]


def silence() -> io.BytesIO:
    """A second without sound, as WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 16_000)
    file.seek(0)
    file.name = "silence.wav"
    return file


def main() -> None:
    url, key = os.environ["LOVAGE_URL"], os.environ["LOVAGE_KEY"]
    place = {"api_base": url + "/v1", "api_key": key}
    chat(place)
    asyncio.run(stream_beside(place))
    other_calls(place)
    other_shapes(url, key)
    errors(place)


def chat(place: Place) -> None:
    answer = litellm.completion(f"openai/{TEXT}", messages=HELLO, max_tokens=4, user="ada", **place)
    assert answer.usage.completion_tokens == 4
    parts = litellm.completion(f"openai/{TEXT}", messages=HELLO, max_tokens=4, stream=True, **place)
    assert "".join(part.choices[0].delta.content or "" for part in parts)
    forced = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
    answer = litellm.completion(f"openai/{CALLER}", messages=HELLO, **forced, **place)
    call = answer.choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"n"}
    result = {"role": "tool", "tool_call_id": call.id, "name": "add", "content": "2"}
    history = [*HELLO, answer.choices[0].message, result]
    again = litellm.completion(f"openai/{CALLER}", messages=history, tools=[TOOL], max_tokens=4, **place)
    assert again.choices[0].finish_reason
    parts = list(litellm.completion(f"openai/{CALLER}", messages=HELLO, stream=True, **forced, **place))
    assert any(part.choices[0].delta.tool_calls for part in parts)
    schema = {"type": "json_schema", "json_schema": NUMBER}
    answer = litellm.completion(
        f"openai/{TEXT}", messages=HELLO, max_tokens=200, response_format=schema, **place
    )
    assert 0 <= json.loads(answer.choices[0].message.content)["n"] <= 9


async def stream_beside(place: Place) -> None:
    async def one() -> str:
        stream = await litellm.acompletion(
            f"openai/{TEXT}", messages=HELLO, max_tokens=4, stream=True, temperature=0, **place
        )
        return "".join([part.choices[0].delta.content or "" async for part in stream])

    texts = await asyncio.gather(*(one() for _ in range(4)))
    assert texts[0]
    assert len(set(texts)) == 1


def other_calls(place: Place) -> None:
    model = f"text-completion-openai/{TEXT}"
    assert litellm.text_completion(model=model, prompt="The whale", max_tokens=4, **place).choices[0].text
    assert litellm.embedding(f"openai/{EMBED}", input=["a", "b"], **place).data[1]["embedding"]
    assert litellm.image_generation(prompt="seven", model=f"openai/{DRAW}", **place).data[0].url
    assert litellm.responses(model=f"openai/{TEXT}", input="Hello", max_output_tokens=4, **place).output
    spoken = litellm.transcription(model=f"openai/{EAR}", file=silence(), **place)
    assert isinstance(spoken.text, str)


def other_shapes(url: str, key: str) -> None:
    documents = ["A plant.", "A whale.", "Celery is a plant."]
    for provider, base in (("cohere", url + "/v2/rerank"), ("jina_ai", url + "/v1/rerank")):
        ranked = litellm.rerank(
            model=RANKER,
            custom_llm_provider=provider,
            query="What is celery?",
            documents=documents,
            top_n=2,
            api_base=base,
            api_key=key,
        )
        assert len(ranked.results) == 2, provider
    said = litellm.completion(f"anthropic/{TEXT}", messages=HELLO, max_tokens=4, api_base=url, api_key=key)
    assert said.choices[0].message.content
    said = litellm.completion(f"ollama_chat/{TEXT}", messages=HELLO, max_tokens=4, api_base=url, api_key=key)
    assert said.choices[0].message.content


def errors(place: Place) -> None:
    for raised, changes in (
        (litellm.NotFoundError, {"model": "openai/nobody/none"}),
        (litellm.AuthenticationError, {"api_key": "lov_wrong"}),
        (litellm.BadRequestError, {"max_tokens": -1}),
    ):
        try:
            litellm.completion(**{"model": f"openai/{TEXT}", "messages": HELLO, **place, **changes})
        except raised:
            continue
        raise AssertionError(f"no {raised.__name__}")


if __name__ == "__main__":
    main()
