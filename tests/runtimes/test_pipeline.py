"""Every task of the runtime `pipeline` that a tiny random model can be made for: an answer of the right
shape, as JSON."""

import json
import math
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
import transformers as t
from PIL import Image
from running import jobs, load, outputs, run
from tiny_models import VOCABULARY, bert, change_json, save, word_pieces

from app.domain.work import Finished
from app.runtimes import pictures
from app.runtimes.base import Alone, Job
from app.runtimes.demo import SHIPPED, demo_minilm_folder
from app.runtimes.pipelines.speech import SpeechRecognition
from app.runtimes.sound import read_sound

BERT: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
T5: dict[str, Any] = {
    "vocab_size": 4096,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
WAV2VEC: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 32,
    "conv_dim": (16, 16),
    "conv_stride": (5, 4),
    "conv_kernel": (10, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
NLI = {"id2label": {0: "contradiction", 1: "entailment"}, "label2id": {"contradiction": 0, "entailment": 1}}
NETS = {
    "text-classification": lambda: t.BertForSequenceClassification(t.BertConfig(**BERT, num_labels=3)),
    "zero-shot-classification": lambda: t.BertForSequenceClassification(t.BertConfig(**BERT, **NLI)),
    "token-classification": lambda: t.BertForTokenClassification(t.BertConfig(**BERT, num_labels=3)),
    "fill-mask": lambda: t.BertForMaskedLM(t.BertConfig(**BERT)),
    "feature-extraction": lambda: t.BertModel(t.BertConfig(**BERT)),
    "question-answering": lambda: t.BertForQuestionAnswering(t.BertConfig(**BERT)),
    "image-classification": lambda: t.ViTForImageClassification(t.ViTConfig(**VIT, num_labels=3)),
    "depth-estimation": lambda: t.DPTForDepthEstimation(
        t.DPTConfig(
            **{**VIT, "num_hidden_layers": 4},
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
        )
    ),
    "audio-classification": lambda: t.Wav2Vec2ForSequenceClassification(
        t.Wav2Vec2Config(**WAV2VEC, num_labels=3)
    ),
    "summarization": lambda: t.T5ForConditionalGeneration(t.T5Config(**T5)),
}
LONG = "Lovage is a plant. " * 60
INPUTS: dict[str, list[dict[str, Any]]] = {
    "text-classification": [{"text": "good", "top_k": 2}, {"text": "a longer text, and bad", "top_k": 2}],
    "zero-shot-classification": [
        {"text": "good", "labels": ["a", "b"]},
        {"text": "bad", "labels": ["a", "b"]},
    ],
    "token-classification": [{"text": "Ada lives in Rome", "aggregation_strategy": "simple"}],
    "fill-mask": [{"text": "The [MASK] is white.", "top_k": 3}, {"text": "A [MASK]", "top_k": 3}],
    "feature-extraction": [{"text": "good"}, {"text": "a longer one"}],
    "question-answering": [
        {"question": "What is it?", "context": LONG},
        {"question": "Who?", "context": "Ada did.", "top_k": 2},
    ],
    "image-classification": [{"image": "picture", "top_k": 2}, {"image": "picture", "top_k": 2}],
    "depth-estimation": [{"image": "picture"}],
    "audio-classification": [{"audio": "sound", "top_k": 2}],
    "summarization": [
        {"text": "The whale is white.", "max_new_tokens": 5},
        {"text": "It was", "max_new_tokens": 5},
    ],
}


@pytest.fixture(scope="module", params=NETS)
def made(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    NETS[request.param]().save_pretrained(folder)
    if request.param in ("image-classification", "depth-estimation"):
        kind = t.DPTImageProcessor if request.param == "depth-estimation" else t.ViTImageProcessor
        kind(size={"height": 32, "width": 32}).save_pretrained(folder)
    elif request.param == "audio-classification":
        t.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    else:
        source = SHIPPED / "words" if request.param == "summarization" else demo_minilm_folder()
        t.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return request.param, folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    Image.new("RGB", (40, 30), (9, 99, 200)).save(tmp_path / "in.png")
    tone = (numpy.sin(numpy.arange(8000) * 2 * math.pi * 440 / 8000) * 2**14).astype("<i2")
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone.tobytes())
    return {"picture": str(tmp_path / "in.png"), "sound": str(tmp_path / "in.wav")}


def test_a_task_answers_its_batch_as_json_and_each_as_alone(
    made, files: dict[str, str], tmp_path: Path
) -> None:
    task, folder = made
    model = load("pipeline", folder, task=task)
    given = [{name: files.get(str(value), value) for name, value in one.items()} for one in INPUTS[task]]
    batch = jobs(model, given, tmp_path / "together")
    found: list[Any] = []
    for key in dict.fromkeys(job.batch_key for job in batch):
        ended, _ = run(model, [job for job in batch if job.batch_key == key])
        assert all(isinstance(event, Finished) for event in ended.values()), ended
        found += [event.output for event in ended.values()]  # type: ignore[union-attr]
    alone = [outputs(model, [one], tmp_path / f"alone{n}")[0] for n, one in enumerate(given)]
    assert rounded(found) == rounded(alone)


def test_an_answer_ends_where_the_decoder_has_no_positions_left(tmp_path: Path) -> None:
    sizes = {name: 2 for name in ("encoder_attention_heads", "decoder_attention_heads")}
    sizes |= {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 16}
    ends = {"forced_eos_token_id": None, "eos_token_id": 3, "decoder_start_token_id": 2, "bos_token_id": 2}
    torch.manual_seed(1)
    net = t.BartForConditionalGeneration(
        t.BartConfig(vocab_size=len(VOCABULARY), pad_token_id=0, **sizes, **ends)
    ).eval()
    save(net, tmp_path / "m", word_pieces(model_max_length=16))
    model = load("pipeline", tmp_path / "m", task="summarization")
    long = {"text": "the whale is white and " * 9, "max_new_tokens": 200}
    [ours] = outputs(model, [long], tmp_path / "out")
    tokenizer = t.AutoTokenizer.from_pretrained(tmp_path / "m")
    ids = tokenizer(long["text"], truncation=True, max_length=16, return_tensors="pt")["input_ids"]
    theirs = net.generate(input_ids=ids, max_new_tokens=16, do_sample=False, num_beams=1)[0]
    assert ours["summary_text"] == tokenizer.decode(theirs, skip_special_tokens=True)


def test_labels_that_are_named_in_one_direction_only_are_enough(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", "BertForSequenceClassification", **NLI)
    asked = [{"text": "good", "labels": ["a", "b"]}]
    [theirs] = outputs(load("pipeline", folder, task="zero-shot-classification"), asked, tmp_path / "a")
    change_json(folder / "config.json", label2id=None)
    [ours] = outputs(load("pipeline", folder, task="zero-shot-classification"), asked, tmp_path / "b")
    assert rounded(ours) == rounded(theirs)


def test_a_long_text_is_cut_beside_each_label(tmp_path: Path) -> None:
    folder = bert(tmp_path / "m", "BertForSequenceClassification", **NLI)
    model = load("pipeline", folder, task="zero-shot-classification")
    long = {"text": "the whale is white and " * 60, "labels": ["a", "good word"]}
    ended, _ = run(model, jobs(model, [long], tmp_path / "out"))
    finished = ended["0"]
    assert isinstance(finished, Finished)
    library = t.pipeline("zero-shot-classification", model=str(folder), device="cpu")
    library.tokenizer.model_max_length = 64
    theirs = library(long["text"], candidate_labels=long["labels"])
    assert rounded(finished.output["scores"]) == rounded(theirs["scores"])
    beside = library.tokenizer("x", "This example is good word.")["input_ids"]
    assert finished.metrics["input_tokens"] == 64 - len(beside) + len(library.tokenizer("x")["input_ids"])
    assert finished.metrics["cut_tokens"] > 100
    with pytest.raises(ValueError, match="labels: one has"):
        jobs(model, [{**long, "labels": ["good " * 80]}], tmp_path / "refused")


def rounded(value: Any) -> str:
    return json.dumps(json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 3) + 0.0))


def test_answers_are_found_in_long_texts_by_windows(tmp_path: Path) -> None:
    torch.manual_seed(1)
    t.BertForQuestionAnswering(t.BertConfig(**BERT)).save_pretrained(tmp_path / "m")
    t.AutoTokenizer.from_pretrained(demo_minilm_folder()).save_pretrained(tmp_path / "m")
    model = load("pipeline", tmp_path / "m", task="question-answering")
    [answer] = outputs(model, [{"question": "What?", "context": LONG}], tmp_path)
    assert LONG[answer["start"] : answer["end"]] == answer["answer"]
    assert answer["answer"]
    assert 0 < answer["score"] <= 1


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    NETS["image-classification"]().save_pretrained(tmp_path / "m")
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "m")
    (tmp_path / "in.png").write_text("no picture")
    with pytest.raises(ValueError, match="not a picture"):
        jobs(
            load("pipeline", tmp_path / "m", task="image-classification"),
            [{"image": str(tmp_path / "in.png")}],
            tmp_path,
        )


def test_a_large_picture_is_not_kept_while_it_waits_and_answers_are_the_same(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 pictures of 89 million pixels that wait decoded want 17 GB."""
    torch.manual_seed(1)
    NETS["image-classification"]().save_pretrained(tmp_path / "m")
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "m")
    model = load("pipeline", tmp_path / "m", task="image-classification")
    Image.new("RGB", (60, 40), (200, 9, 9)).save(tmp_path / "large.png")
    inputs = [{"image": name} for name in (files["picture"], str(tmp_path / "large.png"), files["picture"])]
    expected = outputs(model, inputs, tmp_path / "kept")
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 40 * 30)
    waiting = jobs(model, inputs, tmp_path / "large")
    assert [isinstance(job.prepared["image"], pictures.LargePicture) for job in waiting] == [
        False,
        True,
        False,
    ]
    assert rounded(outputs(model, inputs, tmp_path / "again")) == rounded(expected)


def test_sound_is_read_at_the_models_rate(files: dict[str, str]) -> None:
    samples = read_sound(files["sound"], 16_000)
    assert len(samples) == 16_000
    assert 0.45 < abs(samples[1000:-1000]).max() < 0.55
    assert numpy.abs(numpy.fft.rfft(samples)).argmax() == 440


class Hearing:
    """A pipeline for speech of this kind, which has heard two words."""

    task = "automatic-speech-recognition"

    def __init__(self, kind: str) -> None:
        self.type, self.asked, self.model = kind, [], torch.nn.Identity()
        self.model.generation_config = SimpleNamespace(no_timestamps_token_id=1)
        self.model.config = SimpleNamespace(vocab_size=1_503)

    def __call__(self, recording: Any, **options: Any) -> dict[str, Any]:
        self.asked.append(options)
        words = [{"text": "call", "timestamp": (0.5, 1.0)}, {"text": "me", "timestamp": (1.0, 1.5)}]
        return {"text": "call me", "chunks": words}


@pytest.mark.parametrize(
    ("kind", "level", "asked", "chunks"),
    [
        ("seq2seq_whisper", "segment", True, 2),
        ("seq2seq_whisper", "word", "word", 2),
        ("ctc", "word", "word", 2),
        ("ctc", "segment", "word", 1),
    ],
)
def test_speech_is_timed_by_segments_or_words_whatever_the_model_knows(kind, level, asked, chunks) -> None:
    pipe = Hearing(kind)
    job = Job("1", {}, {"audio": {"raw": [0.0], "sampling_rate": 1}, "timestamps": level})
    (finished,) = SpeechRecognition(pipe).run(job, Alone())
    assert isinstance(finished, Finished)
    answer = finished.output
    assert [options["return_timestamps"] for options in pipe.asked] == [asked]
    assert len(answer["chunks"]) == chunks
    assert (answer["chunks"][0]["timestamp"][0], answer["chunks"][-1]["timestamp"][1]) == (0.5, 1.5)
