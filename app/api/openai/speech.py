"""OpenAI's speech, over models that speak."""

import io
import wave
from typing import Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.deps import caller_of
from app.api.model_calls.calls import Call, open_call, require_input, wait_for_all
from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model
from app.api.openai.errors import OpenAIRoute, declared
from app.domain.errors import LovageError
from app.domain.predictions import Prediction
from app.services.predictions.prediction_view import own_files

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OpenAI"], route_class=OpenAIRoute)

KINDS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


class VoiceIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(max_length=200)


class SpeechIn(CallIn):
    """What to say. `voice` and `speed` are for models that have such inputs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "ada/mms-tts", "input": "Lovage.", "voice": "alloy", "response_format": "wav"}
            ]
        }
    )

    model: Model = Field(examples=["ada/mms-tts"])
    input: str = Field(min_length=1, max_length=100_000)
    voice: str | VoiceIn | None = Field(
        None, description="Ignored, and named so, by a model that has one voice: clients must send it."
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = "mp3"
    speed: float | None = Field(None, ge=0.25, le=4)
    instructions: str | None = Field(None, max_length=10_000, description="For a model with such an input.")
    stream_format: Literal["audio"] | None = Field(None, description="Nothing else is supported.")

    def values(self, call: Call) -> dict[str, object]:
        """The model's inputs. Raises InvalidRequest naming one that it does not have."""
        form = self.response_format or "mp3"
        values: dict[str, object] = {"text": self.input}
        if call.takes("format"):
            values["format"] = "wav" if form == "pcm" else form
        elif form not in ("wav", "pcm"):
            raise refused("response_format", f"must be wav or pcm: {call.version.model} makes no other")
        voice = self.voice.id if isinstance(self.voice, VoiceIn) else self.voice
        if voice and call.takes("voice"):
            values["voice"] = voice
        elif voice:
            call.ignored.append("voice")
        wishes = {"speed": None if self.speed == 1 else self.speed, "instructions": self.instructions}
        for name, value in wishes.items():
            if value and not call.takes(name):
                raise refused(name, f"is not supported: {call.version.model} has no such input")
            values |= {name: value} if value else {}
        return values | self.own_inputs(call)


@router.post(
    "/v1/audio/speech",
    operation_id="openai.audio.speech.create",
    summary="Speak a text (OpenAI)",
    response_model=None,
    response_class=Response,
    responses={
        200: {"description": "The sound.", "content": {kind: {} for kind in KINDS.values()}},
        **declared(400, 401, 403, 404, 413, 415, 429),
    },
)
async def speak(request: Request, body: SpeechIn) -> Response:
    """A text as sound, by a model whose input is `text` and whose output is one file of sound."""
    call = await open_call(request, body.model)
    require_input(call, "text")
    predictions = await call.predict([body.values(call)])
    (prediction,) = await wait_for_all(request, call, predictions)
    content = await run_sync(_sound_of, call, prediction)
    form = body.response_format or "mp3"
    return Response(
        await run_sync(without_head, content) if form == "pcm" else content, media_type=KINDS[form]
    )


def _sound_of(call: Call, prediction: Prediction) -> bytes:
    keys = own_files(prediction)
    if len(keys) != 1:
        raise refused("model", f"{call.version.model} does not answer with sound")
    return b"".join(call.services.storage.open(keys[0])[0])


def without_head(wav: bytes) -> bytes:
    """The samples alone: 16 bits, little-endian, at the model's own rate."""
    try:
        with wave.open(io.BytesIO(wav), "rb") as sound:
            return sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise LovageError("The model's answer is not WAV.") from error
