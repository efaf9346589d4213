"""OpenAI's transcriptions, over models that recognise speech."""

import base64
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import PlainTextResponse, Response

from app.api.deps import caller_of
from app.api.headers import is_utf8_form
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.edge_route import respond
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn
from app.api.openai.errors import OpenAIRoute, declared
from app.api.openai.transcripts import as_srt, as_vtt, segments_of
from app.api.problems import invalid_request
from app.domain.errors import PayloadTooLarge

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
TIMED = ("srt", "vtt", "verbose_json")
LISTS = {"timestamp_granularities[]": "timestamp_granularities", "include[]": "include"}


class TranscriptionIn(CallIn):
    """A form's fields beside the file."""

    response_format: Format | None = "json"
    language: str | None = Field(None, max_length=20, description="Only empty: the model finds out.")
    prompt: str | None = Field(None, max_length=10_000, description="Only empty.")
    temperature: float | None = Field(None, ge=0, le=1, description="Only 0.")
    stream: bool | None = Field(False, description="Only false.")
    timestamp_granularities: list[Literal["word", "segment"]] | None = None

    def check(self) -> None:
        """Raises InvalidRequest for what cannot be had."""
        for name in ("language", "prompt", "temperature", "stream"):
            if getattr(self, name):
                raise refused(name, "is not supported")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise refused("timestamp_granularities", "needs the response_format verbose_json")

    @property
    def level(self) -> str | None:
        """How finely times are wanted."""
        if self.response_format not in TIMED:
            return None
        return "word" if "word" in (self.timestamp_granularities or ()) else "segment"


class TranscriptionOut(BaseModel):
    """OpenAI's transcription; beside `text`, `verbose_json` has `segments` or `words`."""

    model_config = ConfigDict(extra="allow")

    text: str


FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The recording."},
                        "model": {"type": "string", "maxLength": 300},
                        "response_format": {"type": "string", "enum": ["json", "text", *TIMED]},
                        "timestamp_granularities[]": {
                            "type": "array",
                            "items": {"type": "string", "enum": ["word", "segment"]},
                        },
                    },
                },
                "example": {"file": "RIFF…", "model": "ada/whisper", "response_format": "json"},
            }
        },
    }
}


@router.post(
    "/v1/audio/transcriptions",
    operation_id="openai.audio.transcriptions.create",
    summary="Transcribe a recording (OpenAI)",
    response_model=None,
    responses={
        200: {
            "model": TranscriptionOut,
            "description": "As `response_format` says.",
            "content": {"text/plain": {}},
        },
        **declared(400, 401, 403, 404, 413, 415),
    },
    openapi_extra=FORM,
)
async def transcribe(request: Request) -> Response:
    """What is said in a recording."""
    await caller_of(request)
    sent_as = request.headers.get("content-type", "")
    if not sent_as.lower().startswith("multipart/form-data") or not is_utf8_form(sent_as):
        raise refused("file", "must be sent as multipart/form-data, its texts in UTF-8")
    async with request.form(max_files=1, max_fields=16) as form:
        body = read_form(form)
        call = await open_call(request, body.model)
        require_input(call, "audio")
        body.check()
        values = {"audio": await data_uri(call, form.get("file")), **_timed(call, body)}
    predictions = await call.predict([{**values, **body.own_inputs(call)}])
    (prediction,) = await wait_for_all(request, call, predictions)
    return written(body, prediction.output, float(prediction.metrics.get("seconds_of_sound", 0)))


def read_form(form: FormData) -> TranscriptionIn:
    """The fields. Raises InvalidRequest."""
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "file":
            continue
        if isinstance(value, UploadFile):
            raise refused(name[:200], "must be a text")
        if name in LISTS:
            values.setdefault(LISTS[name], []).append(value)
        else:
            values[name] = value or None
    try:
        return TranscriptionIn.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None


async def data_uri(call: Call, file: Any) -> str:
    """The form's file as the model takes it. Raises InvalidRequest, PayloadTooLarge."""
    if not isinstance(file, UploadFile):
        raise refused("file", "is required, as a file part")
    most = call.services.options.max_body_bytes
    content = await file.read(most + 1)
    if len(content) > most:
        raise PayloadTooLarge(f"A recording may have at most {most} bytes here; upload larger ones as files.")
    kind = (file.content_type or "application/octet-stream").partition(";")[0]
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _timed(call: Call, body: TranscriptionIn) -> dict[str, str]:
    if body.level is None:
        return {}
    if "timestamps" not in call.inputs():
        raise refused("response_format", f"{call.version.model} does not say when what was said")
    return {"timestamps": body.level}


def written(body: TranscriptionIn, output: Any, seconds: float) -> Response:
    """The answer in the form that was asked for."""
    text = str(output.get("text", "") if isinstance(output, dict) else output or "").strip()
    segments = segments_of(output)
    if body.response_format == "text":
        return PlainTextResponse(text + "\n")
    if body.response_format in ("srt", "vtt"):
        return PlainTextResponse(as_srt(segments) if body.response_format == "srt" else as_vtt(segments))
    if body.response_format != "verbose_json":
        return respond(200, {"text": text})
    end = max((segment["end"] for segment in segments), default=0.0)
    whole: dict[str, Any] = {"task": "transcribe", "language": "", "duration": seconds or end, "text": text}
    if body.level == "word":
        names = ("start", "end")
        whole["words"] = [
            {"word": segment["text"].strip(), **{name: segment[name] for name in names}}
            for segment in segments
        ]
        return respond(200, whole)
    return respond(200, {**whole, "segments": segments})
