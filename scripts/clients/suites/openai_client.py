"""OpenAI's own client."""

import io
import json
import math
import os
import struct
import time
import wave
from collections.abc import Callable

import openai
from pydantic import BaseModel, Field

REQUIRES = ("openai==3.52.0",)
CALLS = (
    "openai.completions.create",
    "openai.chat.completions.create",
    "openai.embeddings.create",
    "openai.images.generate",
    "openai.moderations.create",
    "openai.images.edit",
    "openai.images.variations.create",
    "openai.audio.transcriptions.create",
    "openai.audio.translations.create",
    "openai.audio.speech.create",
    "models.list",
    "models.get",
    "files.create",
    "files.list",
    "files.read",
    "files.get",
    "files.delete",
    "openai.responses.create",
    "openai.responses.retrieve",
    "openai.responses.cancel",
    "openai.responses.delete",
)
TEXT, CALLER, EMBED, DRAW, MODERATOR, EAR, MOUTH, SEER = (
    os.environ[name] for name in ("TEXT", "CALLER", "EMBED", "DRAW", "MODERATOR", "EAR", "MOUTH", "SEER")
)
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}


# One red dot as a PNG.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSu"
    "QmCC"
)


class Person(BaseModel):
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=99)


def beep() -> bytes:
    """A second of sound as WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        tone = (int(9_000 * math.sin(n / 9)) for n in range(16_000))
        sound.writeframes(b"".join(struct.pack("<h", level) for level in tone))
    return file.getvalue()


def main() -> None:
    client = openai.OpenAI(base_url=os.environ["LOVAGE_URL"] + "/v1", api_key=os.environ["LOVAGE_KEY"])
    chat(client)
    texts(client)
    responses(client)
    files(client)
    sound(client)
    pictures(client)
    seeing(client)
    assert TEXT in [model.id for model in client.models.list()]
    assert client.models.retrieve(TEXT).id == TEXT
    try:
        client.chat.completions.create(model="nobody/none", messages=HELLO)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there has answered")


def chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=TEXT, messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=2
    )
    assert len(answer.choices[0].logprobs.content) == 4
    forced = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 300}
    answer = client.chat.completions.create(model=CALLER, messages=HELLO, **forced)
    call = answer.choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"city"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    history = [*HELLO, answer.choices[0].message.model_dump(), result]
    assert client.chat.completions.create(model=CALLER, messages=history, tools=[TOOL], max_tokens=4).id
    events = client.chat.completions.create(model=CALLER, messages=HELLO, stream=True, **forced)
    assert any(event.choices and event.choices[0].delta.tool_calls for event in events)
    parsed = client.chat.completions.parse(model=TEXT, messages=HELLO, response_format=Person, max_tokens=300)
    assert parsed.choices[0].message.parsed.age <= 99


def texts(client: openai.OpenAI) -> None:
    scored = client.completions.create(model=TEXT, prompt="The whale is", echo=True, logprobs=1, max_tokens=0)
    assert scored.choices[0].logprobs.token_logprobs[0] is None
    assert len(client.embeddings.create(model=EMBED, input=["a", "b"]).data) == 2
    assert client.moderations.create(model=MODERATOR, input="a text").results[0].category_scores


def sound(client: openai.OpenAI) -> None:
    file = ("a.wav", beep())
    assert isinstance(client.audio.transcriptions.create(model=EAR, file=file).text, str)
    subtitles = client.audio.transcriptions.create(model=EAR, file=file, response_format="vtt")
    assert subtitles.startswith("WEBVTT")
    *_, last = client.audio.transcriptions.create(model=EAR, file=file, stream=True)
    assert last.type == "transcript.text.done"
    for form, head in (
        ("mp3", (b"ID3", b"\xff")),
        ("wav", (b"RIFF",)),
        ("opus", (b"OggS",)),
        ("pcm", (b"",)),
    ):
        speech = client.audio.speech.create(
            model=MOUTH, input="lovage tastes like celery", voice="alloy", response_format=form
        )
        assert speech.content.startswith(head), form
        assert len(speech.content) > 100, form
    refuse(lambda: client.audio.translations.create(model=EAR, file=file), "does not translate")


def pictures(client: openai.OpenAI) -> None:
    assert client.images.generate(model=DRAW, prompt="seven").data[0].url
    picture = ("a.png", b"\x89PNG")
    refuse(lambda: client.images.edit(model=DRAW, image=picture, prompt="night"), "takes no `image`")
    refuse(lambda: client.images.create_variation(model=DRAW, image=picture), "takes no `image`")


def seeing(client: openai.OpenAI) -> None:
    """A picture in a conversation."""
    shown = [{"type": "image_url", "image_url": {"url": DOT}}, {"type": "text", "text": "What is it?"}]
    asked = {"messages": [{"role": "user", "content": shown}], "max_tokens": 6, "temperature": 0}
    whole = client.chat.completions.create(model=SEER, **asked)
    assert whole.usage.prompt_tokens > 16
    events = client.chat.completions.create(model=SEER, stream=True, **asked)
    text = "".join(event.choices[0].delta.content or "" for event in events)
    assert text == whole.choices[0].message.content
    item = {"role": "user", "content": [{"type": "input_image", "image_url": DOT, "detail": "auto"}]}
    first = client.responses.create(model=SEER, input=[item], max_output_tokens=4)
    again = {"previous_response_id": first.id, "max_output_tokens": 4}
    assert client.responses.create(model=SEER, input="And now?", **again).usage.input_tokens > 16
    refuse(lambda: client.chat.completions.create(model=TEXT, **asked), "is a picture")


def refuse(call: Callable[[], object], sentence: str) -> None:
    """What no model here can do is refused by a sentence."""
    try:
        call()
    except openai.BadRequestError as error:
        assert sentence in str(error), error
    else:
        raise AssertionError("a model has done what it cannot do")


def responses(client: openai.OpenAI) -> None:
    first = client.responses.create(model=TEXT, input="Hello", max_output_tokens=6)
    assert first.output_text
    more = client.responses.create(
        model=TEXT, input="And then?", previous_response_id=first.id, max_output_tokens=6
    )
    assert more.previous_response_id == first.id
    parsed = client.responses.parse(model=TEXT, input="Who?", text_format=Person, max_output_tokens=300)
    assert parsed.output_parsed.age <= 99
    events = list(client.responses.create(model=TEXT, input="Hello", max_output_tokens=6, stream=True))
    assert events[-1].type in ("response.completed", "response.incomplete")
    waiting = client.responses.create(model=TEXT, input="Hello", background=True, max_output_tokens=6)
    while waiting.status in ("queued", "in_progress"):
        time.sleep(0.1)
        waiting = client.responses.retrieve(waiting.id)
    assert waiting.output_text
    assert client.responses.cancel(waiting.id).status == waiting.status
    client.responses.delete(waiting.id)


def files(client: openai.OpenAI) -> None:
    file = client.files.create(file=("notes.txt", b"hello"), purpose="user_data")
    assert file.id in [each.id for each in client.files.list()]
    assert client.files.content(file.id).read() == b"hello"
    assert client.files.delete(file.id).deleted


if __name__ == "__main__":
    main()
