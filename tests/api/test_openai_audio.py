"""OpenAI's transcriptions and moderations by its own client: the forms of an answer, and what is refused."""

from typing import Any

import openai
import pytest

from app.api.openai.transcripts import clock
from app.db import runtimes
from app.runtimes import schema
from app.runtimes.pipelines.pipeline_tasks import TASKS

SOUND = b"RIFF....WAVE"
CHUNKS = [
    {"text": " Call me", "timestamp": [0.0, 1.5]},
    {"text": " Ishmael.", "timestamp": [1.5, None]},
]
HEARD = {"text": " Call me Ishmael.", "chunks": CHUNKS}


@pytest.fixture
def client(api, ada, worker, remote) -> openai.OpenAI:
    return remote(api, ada)


@pytest.fixture
def listener(database, ada) -> str:
    """A model that takes what speech recognition takes and has heard the same in every recording."""
    add_runtime(database, "listener", {})
    ada.model("listener", runtime="listener")
    return "ada/listener"


def add_runtime(database, name: str, more: dict[str, Any], *, streams: bool = False) -> None:
    """As if a worker had it: it takes what speech recognition takes, and more."""
    properties = TASKS["automatic-speech-recognition"]["properties"]
    inputs = schema.inputs(
        {**properties, **more, "answer": {"type": "object", "default": HEARD}}, required=("audio",)
    )
    spec: dict[str, Any] = {
        "name": name,
        "description": "",
        "inputs": {"": inputs},
        "outputs": {"": {}},
        "streams": streams,
        "needs_source": False,
        "config": {},
    }
    with database.unit() as session:
        runtimes.put(session, {name: spec})


def test_a_recording_is_transcribed_as_json_and_as_text(client, ada, listener) -> None:
    heard = client.audio.transcriptions.create(model=listener, file=("a.wav", SOUND, "audio/wav"))
    assert heard.text == "Call me Ishmael."
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["audio"].startswith("data:audio/wav;base64,")
    assert prediction["input"].get("timestamps") is None
    plain = client.audio.transcriptions.create(model=listener, file=("a", SOUND), response_format="text")
    assert plain == "Call me Ishmael.\n"


def test_subtitles_and_segments_say_when(client, ada, listener) -> None:
    def transcribe(form: Any, **more: Any) -> Any:
        return client.audio.transcriptions.create(
            model=listener, file=("a.wav", SOUND), response_format=form, **more
        )

    assert transcribe("srt").startswith("1\n00:00:00,000 --> 00:00:01,500\nCall me\n\n2\n")
    assert transcribe("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nCall me\n")
    verbose = transcribe("verbose_json")
    assert [(segment.start, segment.end) for segment in verbose.segments] == [(0.0, 1.5), (1.5, 1.5)]
    words = transcribe("verbose_json", timestamp_granularities=["word"], language="en")
    assert [word.word for word in words.words] == ["Call me", "Ishmael."]
    newest = ada.http.get("/v1/predictions").json()["results"][0]
    assert (newest["input"]["timestamps"], newest["input"]["language"]) == ("word", "en")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "mp3"}, "response_format"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"prompt": "Of whales."}, "prompt"),
        ({"temperature": "0.5"}, "temperature"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"wings": "2"}, "wings"),
    ],
)
def test_what_a_transcription_cannot_be_is_refused_by_name(ada, listener, fields, param) -> None:
    answer = ada.http.post(
        "/v1/audio/transcriptions", data={"model": listener, **fields}, files={"file": ("a.wav", SOUND)}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_a_transcription_is_streamed_as_openai_does(client, listener) -> None:
    events = list(client.audio.transcriptions.create(model=listener, file=("a", SOUND), stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0].delta == events[1].text == "Call me Ishmael."


def test_a_model_that_streams_is_asked_for_segments_which_come_one_by_one(
    client, ada, database, worker
) -> None:
    add_runtime(database, "stenographer", {}, streams=True)
    ada.model("stenographer", runtime="stenographer")
    events = list(
        client.audio.transcriptions.create(model="ada/stenographer", file=("a", SOUND), stream=True)
    )
    assert [getattr(event, "delta", None) for event in events] == ["Call me", " Ishmael.", None]
    assert events[-1].text == "Call me Ishmael."
    [prediction] = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["timestamps"] == "segment"
    assert ada.http.get(f"/v1/predictions/{prediction['id']}").json()["output"] == HEARD


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # the client's own, of an operation that it still has
def test_a_recording_is_translated_by_a_model_whose_task_it_is(client, ada, database) -> None:
    file = ("a.wav", SOUND, "audio/wav")
    add_runtime(database, "scribe", {"task": {"type": "string", "enum": ["transcribe"]}})
    ada.model("scribe", runtime="scribe")
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        client.audio.translations.create(model="ada/scribe", file=file)
    task = {"type": "string", "enum": ["transcribe", "translate"]}
    add_runtime(database, "interpreter", {"task": task, "prompt": {"type": "string"}})
    ada.model("interpreter", runtime="interpreter")
    heard = client.audio.translations.create(model="ada/interpreter", file=file, prompt="Of whales.")
    assert heard.text == "Call me Ishmael."
    newest = ada.http.get("/v1/predictions").json()["results"][0]["input"]
    assert (newest["task"], newest["prompt"]) == ("translate", "Of whales.")
    streamed = client.audio.translations.create(
        model="ada/interpreter", file=file, extra_body={"stream": True, "response_format": "text"}
    )
    assert "transcript.text.done" in str(streamed), "the client has no class for it, and gives the text"
    with pytest.raises(openai.BadRequestError, match="needs the response_format"):
        client.audio.translations.create(
            model="ada/interpreter", file=file, response_format="srt", extra_body={"stream": True}
        )


def test_a_transcription_without_a_file_or_form_or_too_large_a_one_is_refused(ada, listener) -> None:
    unsent = ada.http.post("/v1/audio/transcriptions", data={"model": listener}, files={"x": b""})
    assert unsent.json()["error"]["param"] in ("file", "x")
    assert ada.http.post("/v1/audio/transcriptions", json={"model": listener}).status_code == 400
    large = {"file": ("a.wav", b"x" * 1_000_001)}
    assert ada.http.post("/v1/audio/transcriptions", data={"model": listener}, files=large).status_code == 413


def test_a_form_in_a_charset_that_nobody_knows_is_refused(ada, listener) -> None:
    headers = {"Content-Type": "multipart/form-data; charset=elvish; boundary=x"}
    answer = ada.http.post("/v1/audio/transcriptions", content=b"--x--", headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


def test_a_model_that_makes_no_sound_is_refused_and_so_is_what_it_cannot_do(client, talker) -> None:
    def speak(**more: Any) -> Any:
        fields = {"model": talker(chunks=0), "input": "Lovage.", "voice": "alloy", "response_format": "wav"}
        return client.audio.speech.create(**fields | more)

    for more, param in (
        ({}, "model"),  # it answers with no file
        ({"response_format": "mp3"}, "response_format"),
        ({"speed": 2}, "speed"),
        ({"instructions": "Whisper."}, "instructions"),
        ({"model": "demo/none"}, "model"),
    ):
        with pytest.raises(openai.APIStatusError) as raised:
            speak(**more)
        assert raised.value.status_code in (400, 404), raised.value
        assert raised.value.param == param, raised.value


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # the client's own, of an operation that it still has
def test_pictures_that_a_model_cannot_change_are_refused_by_name(client, talker) -> None:
    picture, model = ("a.png", b"\x89PNG"), talker(chunks=0)
    for call in (
        lambda: client.images.edit(model=model, image=picture, prompt="at night"),
        lambda: client.images.create_variation(model=model, image=picture),
    ):
        with pytest.raises(openai.BadRequestError, match="takes no `image`"):
            call()


def test_times_are_written_as_players_read_them() -> None:
    assert clock(3_725.0625, ",") == "01:02:05,062"


def test_a_text_is_flagged_by_the_labels_of_a_classifier(client, talker) -> None:
    answer = [
        {"label": "toxic", "score": 0.75},
        {"label": "insult", "score": 0.25},
        {"label": "non-toxic", "score": 0.9},
    ]
    model = talker(chunks=0, answer=answer)
    moderation = client.moderations.create(model=model, input=["a", "b"])
    assert len(moderation.results) == 2
    result = moderation.results[0]
    assert (result.flagged, result.categories.to_dict()["toxic"]) == (True, True)
    assert result.category_scores.to_dict() == {"toxic": 0.75, "insult": 0.25}
    with pytest.raises(openai.BadRequestError, match="labels and scores"):
        client.moderations.create(model=talker(chunks=1), input="a")
