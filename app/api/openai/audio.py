"""OpenAI's transcriptions and translations, over models that recognise speech."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData
from starlette.responses import PlainTextResponse, Response

from app.api.deps import caller_of
from app.api.model_calls.answer_stream import OPENAI_EVENTS, StreamForm, stream_answer
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import failure_of, refused
from app.api.model_calls.fields import CallIn
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.forms import data_uri, read_fields, require_form
from app.api.openai.transcripts import as_srt, as_vtt, segments_of
from app.domain.predictions import Prediction, Status
from app.services.predictions.stream_tail import StreamEvent

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
TIMED = ("srt", "vtt", "verbose_json")
LISTS = {"timestamp_granularities[]": "timestamp_granularities", "include[]": "include"}


class TranslationIn(CallIn):
    """A form's fields beside the file. What the model takes of them is its input of the same name."""

    response_format: Format | None = "json"
    prompt: str | None = Field(None, max_length=10_000, description="For a model that has such an input.")
    temperature: float | None = Field(None, ge=0, le=1, description="Above 0: likewise.")
    stream: bool | None = Field(False, description="Server-sent events; with json and text.")

    def settings(self, call: Call) -> dict[str, Any]:
        """The model's inputs beside the recording. Raises InvalidRequest for what cannot be had."""
        if self.stream and self.response_format in TIMED:
            raise refused("stream", "needs the response_format json or text")
        wishes = {"prompt": self.prompt, "temperature": self.temperature}
        return take_wishes(call, wishes) | timed(call, self.level_for(call))

    def level_for(self, call: Call) -> str | None:
        """The same; where this model streams, what is said comes segment by segment."""
        is_by_segment = self.stream and call.version.streams and "timestamps" in call.inputs()
        return "segment" if is_by_segment else self.level

    @property
    def level(self) -> str | None:
        """How finely times are wanted."""
        return "segment" if self.response_format in TIMED else None


class TranscriptionIn(TranslationIn):
    """The same, and what only transcriptions have."""

    language: str | None = Field(None, max_length=20, description="For a model that has such an input.")
    timestamp_granularities: list[Literal["word", "segment"]] | None = None

    def settings(self, call: Call) -> dict[str, Any]:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise refused("timestamp_granularities", "needs the response_format verbose_json")
        return super().settings(call) | take_wishes(call, {"language": self.language})

    @property
    def level(self) -> str | None:
        is_word = "word" in (self.timestamp_granularities or ())
        return "word" if is_word and self.response_format in TIMED else super().level


class TranscriptionOut(BaseModel):
    """OpenAI's transcription; beside `text`, `verbose_json` has `segments` or `words`."""

    model_config = ConfigDict(extra="allow")

    text: str


def take_wishes(call: Call, wishes: dict[str, Any]) -> dict[str, Any]:
    """Those that are not empty, for a model that has them as inputs. Raises InvalidRequest naming one that
    it has not."""
    sent = {name: value for name, value in wishes.items() if value}
    for name in sent:
        if not call.takes(name):
            raise refused(name, f"is not supported: {call.version.model} has no such input")
    return sent


def timed(call: Call, level: str | None) -> dict[str, str]:
    """The input that asks for times. Raises InvalidRequest for a model that knows none."""
    if level is None:
        return {}
    if "timestamps" not in call.inputs():
        raise refused("response_format", f"{call.version.model} does not say when what was said")
    return {"timestamps": level}


def form_of(more: dict[str, Any]) -> dict[str, Any]:
    """The description of a form with a recording."""
    properties = {
        "file": {"type": "string", "format": "binary", "description": "The recording."},
        "model": {"type": "string", "maxLength": 300},
        "response_format": {"type": "string", "enum": ["json", "text", *TIMED]},
        "prompt": {"type": "string", "maxLength": 10_000},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "stream": {"type": "boolean"},
        **more,
    }
    schema = {"type": "object", "required": ["file", "model"], "properties": properties}
    example = {"file": "RIFF…", "model": "ada/whisper", "response_format": "json"}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


ONLY_TRANSCRIPTIONS: dict[str, Any] = {
    "language": {"type": "string", "maxLength": 20},
    "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}},
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": TranscriptionOut,
        "description": "As `response_format` says.",
        "content": {"text/plain": {}, "text/event-stream": {}},
    },
    **declared(400, 401, 403, 404, 413, 415),
}


@router.post(
    "/v1/audio/transcriptions",
    operation_id="openai.audio.transcriptions.create",
    summary="Transcribe a recording (OpenAI)",
    response_model=None,
    responses=ANSWERS,
    openapi_extra=form_of(ONLY_TRANSCRIPTIONS),
)
async def transcribe(request: Request) -> Response:
    """What is said in a recording; `stream` for server-sent events, of a Whisper model segment by segment."""
    await caller_of(request)
    require_form(request, "file")
    async with request.form(max_files=1, max_fields=16) as form:
        body = read_fields(form, TranscriptionIn, ("file",), LISTS)
        call, predictions = await _listen(request, form, body)
    return await _answer(call, predictions, "transcribe", body)


@router.post(
    "/v1/audio/translations",
    operation_id="openai.audio.translations.create",
    summary="Translate a recording into English (OpenAI)",
    response_model=None,
    responses=ANSWERS,
    openapi_extra=form_of({}),
)
async def translate(request: Request) -> Response:
    """What is said in a recording, in English, by a model whose input `task` may be `translate`; streamed as
    transcriptions are."""
    await caller_of(request)
    require_form(request, "file")
    async with request.form(max_files=1, max_fields=16) as form:
        body = read_fields(form, TranslationIn, ("file",), LISTS)
        call, predictions = await _listen(request, form, body, "translate")
    return await _answer(call, predictions, "translate", body)


async def _answer(call: Call, predictions: list[Prediction], task: str, body: TranslationIn) -> Response:
    if body.stream:
        return await stream_answer(call.request, call, predictions, _events(call, predictions))
    (prediction,) = await wait_for_all(call.request, call, predictions)
    return written(task, body, prediction)


async def _listen(
    request: Request, form: FormData, body: TranslationIn, task: str | None = None
) -> tuple[Call, list[Prediction]]:
    call = await open_call(request, body.model)
    require_input(call, "audio")
    if task and task not in (call.inputs().get("task", {}).get("enum") or ()):
        raise refused("model", f"{call.version.model} cannot be used here: it does not {task}")
    values = {**body.settings(call), **body.own_inputs(call), **({"task": task} if task else {})}
    values["audio"] = await data_uri(call, "file", form.get("file"))
    return call, await call.predict([values])


def _events(call: Call, predictions: Sequence[Prediction]) -> StreamForm:
    """OpenAI's events of a transcription: a piece of text for each segment as the model has it; from a model
    that answers whole, all in one."""
    sent = ""

    async def each(number: int, event: StreamEvent) -> AsyncIterator[dict[str, Any]]:
        nonlocal sent
        if event.event == "output" and (piece := segment_text(event.value)):
            delta = piece if sent else piece.lstrip()
            sent += delta
            yield {"type": "transcript.text.delta", "delta": delta}
        if event.event != "done":
            return
        follower = call.services.follower
        prediction = await follower.load(await follower.get(predictions[number].id))
        if prediction.status is not Status.SUCCEEDED:
            raise failure_of(prediction)
        text = text_of(prediction.output)
        if not sent:
            yield {"type": "transcript.text.delta", "delta": text}
        yield {"type": "transcript.text.done", "text": text}

    async def last() -> list[dict[str, Any]]:
        return []

    return StreamForm([], each, last, OPENAI_EVENTS)


def segment_text(segment: Any) -> str:
    """Of a segment; "" for what is none."""
    return str(segment.get("text", "")) if isinstance(segment, dict) and "timestamp" in segment else ""


def text_of(output: Any) -> str:
    """What was said."""
    return str(output.get("text", "") if isinstance(output, dict) else output or "").strip()


def written(task: str, body: TranslationIn, prediction: Prediction) -> Response:
    """The answer in the form that was asked for."""
    output, seconds = prediction.output, float(prediction.metrics.get("seconds_of_sound", 0))
    text, segments = text_of(output), segments_of(output)
    if body.response_format == "text":
        return PlainTextResponse(text + "\n")
    if body.response_format in ("srt", "vtt"):
        return PlainTextResponse(as_srt(segments) if body.response_format == "srt" else as_vtt(segments))
    if body.response_format != "verbose_json":
        return respond(200, {"text": text})
    end = max((segment["end"] for segment in segments), default=0.0)
    whole: dict[str, Any] = {"task": task, "language": "", "duration": seconds or end, "text": text}
    if body.level == "word":
        names = ("start", "end")
        whole["words"] = [
            {"word": segment["text"].strip(), **{name: segment[name] for name in names}}
            for segment in segments
        ]
        return respond(200, whole)
    return respond(200, {**whole, "segments": segments})
