"""Speech recognition of any length by transformers' own pipelines: it says how far it is with every segment,
and stops between two steps of the network. Knows files and jobs, no queue.

Whisper's library takes a long recording as one array of features and looks at 30 seconds of it at a time; the
features are made here block by block, because those of an hour, made at once, take 600 MB of waves.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from app.domain.work import Canceled, Chunk, Event, Finished, Progress
from app.runtimes.base import Feed, Job

WHISPER = "seq2seq_whisper"
NO_TIMES = "<|notimestamps|>"
NO_TIMES_ID = "no_timestamps_token_id"  # its name in a generation configuration
TIMES = 1_501  # Whisper's tokens of time, behind that one: each 0.02 s of a window
PLAIN = "seq2seq"  # writes texts, and knows no times
WINDOW_SECONDS = 30.0  # what Whisper takes at once
# Letter by letter (CTC), a recording is taken whole up to this, a longer one in pieces that overlap; so is
# what is longer than a window by a Whisper without tokens of time, which cannot say where to go on.
WHOLE_SECONDS = 60.0
PIECE_SECONDS = 30.0

Segment = dict[str, Any]


class _StopError(Exception):
    """Raised inside the network when its prediction was canceled."""


class SpeechRecognition:
    """{text}, and `chunks` of segments or words with their times where they are asked for. Used by one
    thread; recordings run one after the other, so that none changes another's text."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._net = pipe, pipe.model
        self._has_times = str(pipe.type) != PLAIN and (pipe.type != WHISPER or has_times(pipe))
        self._is_canceled: Callable[[], bool] = lambda: False
        self._net.register_forward_pre_hook(self._check_canceled)

    def _check_canceled(self, *_: Any) -> None:
        if self._is_canceled():
            raise _StopError

    def check(self, values: dict[str, Any]) -> None:
        """Raises ValueError for what this model cannot do."""
        if values.get("timestamps") and not self._has_times:
            raise ValueError("timestamps: this model does not say when what was said")
        spoken = [name for name in ("language", "task") if values.get(name)]
        if not spoken:
            return
        if self._pipe.type != WHISPER:
            what = "choose a language" if spoken[0] == "language" else "translate"
            raise ValueError(f"{spoken[0]}: this model does not {what}; Whisper models do")
        config = self._net.generation_config
        is_multilingual = getattr(config, "is_multilingual", False)
        if not is_multilingual and (values.get("language") or values.get("task") == "translate"):
            raise ValueError(f"{spoken[0]}: this model knows one language only")
        if language := values.get("language"):
            check_language(language, getattr(config, "lang_to_id", None) or {})

    def run(self, job: Job, feed: Feed) -> Iterator[Event]:
        """How far it is, and the end."""
        seconds = _seconds_of(job.prepared["audio"])
        self._is_canceled = partial(feed.canceled, job.id)
        try:
            if self._is_long(seconds):
                answer = yield from self._recognise_long(job.prepared, seconds)
            else:
                self._check_canceled()
                answer = self._recognise(job.prepared, seconds)
        except _StopError:
            yield Canceled()
        else:
            yield Finished(answer, {"seconds_of_sound": round(seconds, 3)})
        finally:
            self._is_canceled = lambda: False

    def _is_long(self, seconds: float) -> bool:
        return self._pipe.type == WHISPER and self._has_times and seconds > WINDOW_SECONDS

    def _recognise(self, values: dict[str, Any], seconds: float) -> dict[str, Any]:
        """By one call of the pipeline."""
        level, kind = values.get("timestamps"), str(self._pipe.type)
        options: dict[str, Any] = {}
        if kind == WHISPER:
            options["generate_kwargs"] = spoken_options(values)
        longest = WINDOW_SECONDS if kind == WHISPER else WHOLE_SECONDS
        if kind.startswith(("ctc", WHISPER)) and seconds > longest:
            options |= {"chunk_length_s": PIECE_SECONDS, "ignore_warning": True}
        if level:
            options["return_timestamps"] = True if level == "segment" and kind == WHISPER else "word"
        with knowing_times(self._pipe) if level and kind == WHISPER else nullcontext():
            answer: dict[str, Any] = self._pipe(dict(values["audio"]), **options)
        words = answer.get("chunks") or []
        if level == "segment" and kind != WHISPER and words:  # it knows words: they are its one segment
            times = (words[0]["timestamp"][0], words[-1]["timestamp"][1])
            return {**answer, "chunks": [{"text": answer["text"], "timestamp": times}]}
        return answer

    def _recognise_long(
        self, values: dict[str, Any], seconds: float
    ) -> Generator[Event, None, dict[str, Any]]:
        """Says how far it is while the library works in a thread, and streams segments that were asked for;
        returns the answer."""
        segments: queue.Queue[Segment | None] = queue.Queue()
        outcome: list[Any] = []
        thread = threading.Thread(
            target=self._generate, args=(values, segments, outcome), name="speech", daemon=True
        )
        thread.start()
        chunks: list[Segment] = []
        try:
            while (segment := segments.get()) is not None:
                chunks.append(segment)
                if values.get("timestamps") == "segment":
                    yield Chunk(segment)
                yield Progress(min(int(segment["timestamp"][1]), int(seconds)), int(seconds))
        finally:  # when nobody reads on, the network must not be used by two
            self._is_canceled = lambda: True
            thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        level = values.get("timestamps")
        answer = self._pipe.postprocess([outcome[0]], return_timestamps="word" if level == "word" else True)
        if level != "word" and chunks:
            answer["chunks"] = chunks
        return {"text": answer["text"], **({"chunks": answer["chunks"]} if level else {})}

    def _generate(
        self, values: dict[str, Any], segments: "queue.Queue[Segment | None]", outcome: list[Any]
    ) -> None:
        """In a thread of its own. Puts segments as the library finds them, then None; `outcome` gets the
        tokens, or what was raised."""
        import torch

        pipe, options = self._pipe, spoken_options(values)
        if values.get("timestamps") == "word":
            options["return_token_timestamps"] = True
        try:
            features = log_mel(values["audio"]["raw"], pipe.feature_extractor)
            watched = _SegmentsOf(self._net, self._decoded(segments))
            with torch.inference_mode(), knowing_times(pipe), watched:
                tokens = self._net.generate(
                    input_features=features[None].to(self._net.device, self._net.dtype),
                    attention_mask=torch.ones(
                        1, features.shape[1], dtype=torch.long, device=self._net.device
                    ),
                    return_timestamps=True,
                    return_segments=True,
                    **pipe._prepare_generate_kwargs(options),
                )
            outcome.append(_decodable(tokens, words="return_token_timestamps" in options))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for it
            outcome.append(error)
        finally:
            segments.put(None)

    def _decoded(self, segments: "queue.Queue[Segment | None]") -> Callable[[dict[str, Any]], None]:
        def put(segment: dict[str, Any]) -> None:
            text = self._pipe.tokenizer.decode(segment["tokens"], skip_special_tokens=True)
            times = [round(float(segment[name]), 3) for name in ("start", "end")]
            segments.put({"text": text, "timestamp": times})

        return put


class _SegmentsOf:
    """While it is entered, every segment that the library's long form cuts out goes to `put`, too. Should a
    release of the library name that method otherwise, segments come with the end only."""

    NAME = "_retrieve_segment"

    def __init__(self, net: Any, put: Callable[[dict[str, Any]], None]) -> None:
        self._net, self._put = net, put

    def __enter__(self) -> None:
        cut_out = getattr(self._net, self.NAME, None)
        if cut_out is None:
            return

        def cut_out_and_put(*args: Any, **named: Any) -> Any:
            segments, offset = cut_out(*args, **named)
            for segment in segments:
                self._put(segment)
            return segments, offset

        setattr(self._net, self.NAME, cut_out_and_put)

    def __exit__(self, *_: object) -> None:
        vars(self._net).pop(self.NAME, None)


def _decodable(tokens: Any, *, words: bool) -> dict[str, Any]:
    """The tokens as the pipeline's own last step takes them."""
    import torch

    answer = {"tokens": tokens["sequences"]}
    if words:
        answer["token_timestamps"] = [
            torch.cat([segment["token_timestamps"] for segment in row]) for row in tokens["segments"]
        ]
    return answer


def _seconds_of(sound: dict[str, Any]) -> float:
    return len(sound["raw"]) / float(sound["sampling_rate"])


def has_times(pipe: Any) -> bool:
    """Whether a Whisper's vocabulary and its weights have the tokens of time."""
    first = _no_times_id(pipe)
    return first is not None and int(pipe.model.config.vocab_size) > first + TIMES


def _no_times_id(pipe: Any) -> int | None:
    named = getattr(pipe.model.generation_config, NO_TIMES_ID, None)
    known: int | None = pipe.tokenizer.get_vocab().get(NO_TIMES) if named is None else named
    return known


@contextmanager
def knowing_times(pipe: Any) -> Iterator[None]:
    """While it is entered, the generation knows the token which times need: fine-tunes come with a
    generation_config.json that lacks it. It is for those only who ask for times, because a text is begun
    otherwise where it is known."""
    config = pipe.model.generation_config
    if getattr(config, NO_TIMES_ID, None) is not None:
        yield
        return
    setattr(config, NO_TIMES_ID, _no_times_id(pipe))
    try:
        yield
    finally:
        delattr(config, NO_TIMES_ID)


def spoken_options(values: dict[str, Any]) -> dict[str, Any]:
    """Of a request, what Whisper's `generate` takes."""
    return {name: values[name] for name in ("language", "task") if values.get(name)}


def check_language(language: str, known: dict[str, int]) -> None:
    """Raises ValueError for a language, by its name or its code, that the model does not know."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
    if f"<|{code}|>" not in known:
        names = ", ".join(sorted(token.strip("<|>") for token in known)) or "none"
        raise ValueError(f"language: {language[:50]!r} is none of the model's: {names}")


def log_mel(samples: Any, extractor: Any) -> Any:
    """(mels, frames) of a recording of any length, as Whisper's feature extractor gives them for one that is
    not padded: log10 of the mel spectrum, nothing below 8 under the whole recording's maximum, scaled. Made
    by blocks of 30 seconds, each with the samples beside it that its outer frames reach."""
    import torch

    size, hop = int(extractor.n_fft), int(extractor.hop_length)
    block, border = int(WINDOW_SECONDS * extractor.sampling_rate) // hop * hop, size // 2
    wave = torch.from_numpy(samples).float()
    padded = torch.nn.functional.pad(wave[None], (border, border), mode="reflect")[0]
    window, filters = torch.hann_window(size), torch.from_numpy(extractor.mel_filters).float().T
    parts = []
    for at in range(0, len(wave) // hop * hop, block):
        end = min(at + block, len(wave) // hop * hop)
        span = padded[at : end - hop + size]
        spectrum = torch.stft(span, size, hop, window=window, center=False, return_complex=True)
        parts.append((filters @ spectrum.abs().square()).clamp(min=1e-10).log10())
    logs = torch.cat(parts, 1)
    return (logs.maximum(logs.max() - 8.0) + 4.0) / 4.0
