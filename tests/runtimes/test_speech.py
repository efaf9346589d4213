"""Speech of any length, by a tiny random Whisper: the text of the library, and how far it is."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers as t
from running import Feed, jobs, load, outputs, run, travelled
from tiny_models import change_json, copied
from tokenizers.pre_tokenizers import ByteLevel

from app.domain.work import Canceled, Chunk, Finished, Progress
from app.runtimes.base import Runtime
from app.runtimes.pipelines import speech
from app.runtimes.sound import read_sound, write_wav

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
TIMES = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
RATE = 16_000


def whisper_tokenizer(folder: Path) -> Any:
    """Letters as pieces, and Whisper's own tokens."""
    letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    pieces = letters | {token: len(letters) + number for number, token in enumerate(SPECIAL)}
    tokenizer = t.WhisperTokenizer(vocab=pieces, merges=[], language="en", task="transcribe")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.add_tokens([t.AddedToken(time, special=False) for time in TIMES])
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    tokenizer = whisper_tokenizer(folder)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    torch.manual_seed(1)
    config = t.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=80,
        max_target_positions=64,
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    net = t.WhisperForConditionalGeneration(config)
    about = net.generation_config
    about.is_multilingual = True
    about._from_model_config = False
    about.lang_to_id = {token: ids[token] for token in ("<|en|>", "<|de|>")}
    about.task_to_id = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    about.no_timestamps_token_id = ids["<|notimestamps|>"]
    about.decoder_start_token_id = ids["<|startoftranscript|>"]
    about.max_initial_timestamp_index = 50
    about.max_length = 24
    about.alignment_heads = [[0, 0]]
    net.save_pretrained(folder)
    t.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(whisper_folder: Path) -> Runtime:
    return load("pipeline", whisper_folder, task="automatic-speech-recognition", config={"dtype": "float32"})


def noise(file: Path, seconds: float) -> str:
    samples = numpy.random.default_rng(1).normal(0, 0.1, int(seconds * RATE))
    write_wav(file, samples, RATE)
    return str(file)


LONG = 61  # seconds; the library looks at 30 at a time


@pytest.fixture(scope="module")
def library(whisper_folder: Path) -> Any:
    return t.pipeline("automatic-speech-recognition", model=str(whisper_folder), device="cpu")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    return noise(tmp_path_factory.mktemp("sound") / "long.wav", LONG)


def heard(library: Any, file: str, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = library({"raw": read_sound(file, RATE), "sampling_rate": RATE}, **options)
    return answer


def test_a_long_recording_has_the_librarys_text_and_segments_and_says_how_far_it_is(
    whisper: Runtime, library: Any, recording: str, tmp_path: Path
) -> None:
    expected = heard(library, recording, return_timestamps=True)
    given = [{"audio": recording}, {"audio": recording, "timestamps": "segment", "language": "German"}]
    events = list(whisper.run(jobs(whisper, given, tmp_path), Feed()))
    ended = {number: travelled(event) for number, event in events if isinstance(event, Finished)}
    plain, timed = (ended[number].output for number in "01")  # type: ignore[union-attr]
    assert plain == {"text": expected["text"]}
    assert plain["text"]
    german = heard(library, recording, return_timestamps=True, generate_kwargs={"language": "de"})
    assert timed["text"] == german["text"]
    assert "".join(chunk["text"] for chunk in timed["chunks"]) == timed["text"]
    streamed = [(number, event.data) for number, event in events if isinstance(event, Chunk)]
    assert streamed == [("1", chunk) for chunk in timed["chunks"]], "segments come as they are found"
    done = [event.done for number, event in events if number == "1" and isinstance(event, Progress)]
    assert len(done) == len(timed["chunks"]) >= 3, "one for each window at least"
    assert done == sorted(done)
    assert ended["0"].metrics["seconds_of_sound"] == LONG  # type: ignore[union-attr]


def test_a_short_recording_is_one_call_of_the_librarys(
    whisper: Runtime, library: Any, tmp_path: Path
) -> None:
    file = noise(tmp_path / "in.wav", 2)
    ended, _ = run(whisper, jobs(whisper, [{"audio": file}, {"audio": file, "task": "translate"}], tmp_path))
    assert ended["0"].output == {"text": heard(library, file)["text"]}  # type: ignore[union-attr]
    english = heard(library, file, generate_kwargs={"task": "translate"})
    assert ended["1"].output == {"text": english["text"]}  # type: ignore[union-attr]


def test_words_of_a_long_recording_have_the_librarys_times(
    whisper: Runtime, library: Any, tmp_path: Path
) -> None:
    file = noise(tmp_path / "in.wav", 31)
    ended, _ = run(whisper, jobs(whisper, [{"audio": file, "timestamps": "word"}], tmp_path))
    words = heard(library, file, return_timestamps="word")["chunks"]
    actual = ended["0"].output["chunks"]  # type: ignore[union-attr]
    assert [(word["text"], *word["timestamp"]) for word in actual] == [
        (word["text"], *word["timestamp"]) for word in words
    ]


def test_a_canceled_recording_stops_between_two_tokens(
    whisper: Runtime, recording: str, tmp_path: Path
) -> None:
    feed = Feed(cancel={"0": 25})
    given = [{"audio": recording}, {"audio": recording}]
    ended, _ = run(whisper, jobs(whisper, given, tmp_path), feed)
    assert ended["0"] == Canceled()
    assert feed.asked["0"] == 26, "not asked again after the cancel"
    assert ended["1"].output["text"]  # type: ignore[union-attr]


def test_a_language_that_the_model_does_not_know_is_refused(
    whisper: Runtime, recording: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="language: 'klingon' is none of the model's: de, en"):
        jobs(whisper, [{"audio": recording, "language": "klingon"}], tmp_path)


def test_a_fine_tune_whose_generation_settings_lack_the_times_token_reads_long_recordings(
    whisper: Runtime, whisper_folder: Path, tmp_path: Path
) -> None:
    folder = copied(whisper_folder, tmp_path / "fine-tune")
    change_json(folder / "generation_config.json", no_timestamps_token_id=None)
    asked = [{"audio": noise(tmp_path / "in.wav", 31), "timestamps": "segment"}]
    tuned = load("pipeline", folder, task="automatic-speech-recognition", config={"dtype": "float32"})
    [ours], [theirs] = (outputs(model, asked, tmp_path / "out") for model in (tuned, whisper))
    assert ours == theirs
    assert ours["chunks"]


def test_a_text_without_times_is_begun_as_the_library_begins_it(whisper_folder: Path, tmp_path: Path) -> None:
    folder = copied(whisper_folder, tmp_path / "fine-tune")
    change_json(folder / "generation_config.json", no_timestamps_token_id=None)
    file, task = noise(tmp_path / "in.wav", 2), "automatic-speech-recognition"
    tuned = load("pipeline", folder, task=task, config={"dtype": "float32"})
    asked = [{"audio": file, "timestamps": "segment"}, {"audio": file}]
    _, plain = (outputs(tuned, [each], tmp_path / "out")[0] for each in asked)
    assert plain == {"text": heard(t.pipeline(task, model=str(folder), device="cpu"), file)["text"]}


@pytest.fixture(scope="module")
def timeless_folder(whisper_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper whose vocabulary ends before the tokens of time."""
    folder = copied(whisper_folder, tmp_path_factory.mktemp("timeless") / "whisper")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [each for each in tokenizer["added_tokens"] if each["content"] not in TIMES]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    left = len(t.AutoTokenizer.from_pretrained(folder))
    net = t.WhisperForConditionalGeneration.from_pretrained(folder)
    net.resize_token_embeddings(left)
    net.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("seconds", [2, 61])
def test_a_vocabulary_without_tokens_of_time_is_transcribed_without_times(
    timeless_folder: Path, tmp_path: Path, seconds: int
) -> None:
    task, file = "automatic-speech-recognition", noise(tmp_path / "in.wav", seconds)
    model = load("pipeline", timeless_folder, task=task, config={"dtype": "float32"})
    expected = heard(t.pipeline(task, model=str(timeless_folder), device="cpu"), file, chunk_length_s=30)
    assert outputs(model, [{"audio": file}], tmp_path / "out") == [{"text": expected["text"]}]
    assert expected["text"]
    with pytest.raises(ValueError, match="timestamps: this model does not say when what was said"):
        jobs(model, [{"audio": file, "timestamps": "segment"}], tmp_path)


@pytest.mark.parametrize("seconds", [31.0, 60.0, 61.237])
def test_features_made_by_blocks_are_the_extractors(seconds: float) -> None:
    extractor = t.WhisperFeatureExtractor(feature_size=80)
    samples = numpy.random.default_rng(2).normal(0, 0.1, int(seconds * RATE)).astype(numpy.float32)
    samples[: 5 * RATE] *= 8  # the loudest part sets the floor of all the others
    expected = extractor(
        samples, sampling_rate=RATE, truncation=False, padding="longest", return_tensors="pt"
    )
    actual = speech.log_mel(samples, extractor)
    assert actual.shape == expected["input_features"][0].shape
    assert float((actual - expected["input_features"][0]).abs().max()) < 1e-4
