"""Models as people have them, with what is wrong with them: the answer of the model's own library, or a
sentence that says what is wrong; alone and amid good neighbours."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers as t
from running import jobs, load, outputs
from tiny_models import bert, break_weight, change_json, copied, gpt2, reranker, word_pieces

from app.domain.work import Failed, Finished, Log
from app.engine.batch_runner import BatchRunner
from app.engine.inbox import Entry, Inbox, Rules
from app.runtimes.base import Runtime
from app.runtimes.finite import NOT_FINITE

TEXTS = ["the whale is white", "hello", "ada lives in rome, rome is good, and " * 3]
GOOD = [{"text": text} for text in ("hello", "the whale", "rome", "ada lives", "good word")]


class Endings:
    """An outbox that keeps what was sent, by job."""

    def __init__(self) -> None:
        self.events: dict[str, list[Any]] = {}

    def add_events(self, events: Any) -> None:
        for job_id, event in events:
            self.send_event(job_id, event)

    def send_event(self, job_id: str, event: Any) -> None:
        self.events.setdefault(job_id, []).append(event)

    def flush(self) -> None:
        pass


class Quiet:
    def drain(self) -> None:
        pass


def ended(model: Runtime, inputs: list[dict[str, Any]], folder: Path) -> list[Any]:
    """The endings that the engine makes of a batch."""
    sent = Endings()
    runner = BatchRunner(model, Inbox(Rules()), sent, Quiet())  # type: ignore[arg-type]
    runner.run_batch([Entry(job, 0.0) for job in jobs(model, inputs, folder)])
    return [sent.events[str(number)][-1] for number in range(len(inputs))]


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    bert(tmp_path)
    change_json(
        tmp_path / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "x"}
    )
    with pytest.raises(
        ValueError, match=r"the weights lack classifier\.bias, classifier\.weight, which BertFor"
    ):
        load("pair-scoring", tmp_path)
    with pytest.raises(ValueError, match=r"the weights lack classifier\.bias"):
        load("pipeline", tmp_path, task="text-classification")


def test_an_encoder_is_no_text_generator(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the weights lack cls\."):
        load("text-generation", bert(tmp_path))


@pytest.mark.parametrize("position", [0, 3])
def test_vectors_that_are_not_finite_fail_alone(tmp_path: Path, position: int) -> None:
    bert(tmp_path)
    word = word_pieces().convert_tokens_to_ids("whale")
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][word] = float("nan")
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    given = [{"text": "hello"}, {"text": ["rome", "ada"]}, {"text": "good"}]
    given.insert(position, {"text": ["good", "the whale"]})
    model = load("embedding", tmp_path, config={"dtype": "float32"})
    found = ended(model, given, tmp_path / "out")
    assert [type(each) for each in found] == [Failed if n == position else Finished for n in range(4)]
    assert found[position].error == NOT_FINITE
    assert found[position].code == "model_failed"


@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("temperature", [0, 1])
def test_text_of_numbers_that_are_not_finite_is_no_text(
    tmp_path: Path, continuous: bool, temperature: float
) -> None:
    model = load("text-generation", break_weight(gpt2(tmp_path), "transformer.ln_f.weight"))
    model._is_continuous = continuous  # type: ignore[attr-defined]
    given = {"prompt": "the whale", "max_new_tokens": 5, "temperature": temperature}
    [one, two] = ended(model, [given, given], tmp_path / "out")
    assert (one.error, two.error) == (NOT_FINITE, NOT_FINITE)
    assert one.metrics["output_tokens"] == 0


@pytest.mark.parametrize(
    ("task", "kind", "weight", "given"),
    [
        ("text-classification", "BertForSequenceClassification", "classifier.weight", {"text": "hello"}),
        ("token-classification", "BertForTokenClassification", "classifier.weight", {"text": "hello"}),
        (
            "question-answering",
            "BertForQuestionAnswering",
            "qa_outputs.weight",
            {"question": "a", "context": "b c"},
        ),
    ],
)
def test_tasks_do_not_make_labels_of_nan(
    tmp_path: Path, task: str, kind: str, weight: str, given: dict[str, Any]
) -> None:
    folder = break_weight(bert(tmp_path, kind, num_labels=2), weight)
    [ending] = ended(load("pipeline", folder, task=task), [given], tmp_path / "out")
    assert ending.error == NOT_FINITE


def test_a_token_that_the_weights_do_not_know_is_refused_by_name(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
    model = load("text-generation", gpt2(tmp_path / "gpt2", tokenizer))
    assert outputs(model, [{"prompt": "the whale", "max_new_tokens": 3, "temperature": 0}], tmp_path)
    with pytest.raises(
        ValueError, match=r"the text has '<\|im_start\|>', token \d+, which the tokenizer knows"
    ):
        jobs(model, [{"prompt": "hello <|im_start|>"}], tmp_path)
    encoder = bert(tmp_path / "bert")
    tokenizer.save_pretrained(encoder)
    for runtime, given in (("embedding", {"text": ["a", "<|im_start|>"]}),):
        with pytest.raises(ValueError, match="and the weights do not"):
            jobs(load(runtime, encoder), [given], tmp_path)


PAIRS = [["the whale", text] for text in ("is white", "hello good word, ada lives in rome", "x")]


@pytest.mark.parametrize(
    "config",
    [{"pad_token_id": None}, {"pad_token_id": 0}, {"pad_token_id": 7}],
    ids=["no padding named", "the tokenizer's", "another than the tokenizer's"],
)
def test_decoders_score_pairs_as_alone(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = reranker(tmp_path / "m", **config)
    from sentence_transformers import CrossEncoder  # takes seconds, in every process that collects tests

    library = CrossEncoder(str(folder), device="cpu")
    expected = [float(library.predict([pair])[0]) for pair in PAIRS]
    model = load("pair-scoring", folder)
    [scores] = outputs(model, [{"pairs": PAIRS}], tmp_path / "a")
    numpy.testing.assert_allclose(scores, expected, atol=1e-5)
    singles = outputs(model, [{"pairs": [pair]} for pair in PAIRS], tmp_path / "b")
    numpy.testing.assert_allclose([score for [score] in singles], expected, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("activation", [None, "linear.Identity", "activation.Tanh"])
def test_scores_are_those_of_the_cross_encoder(tmp_path: Path, labels: int, activation: str | None) -> None:
    folder = bert(tmp_path / "m", "BertForSequenceClassification", num_labels=labels)
    if activation:
        name = f"torch.nn.modules.{activation}"
        change_json(folder / "config.json", sentence_transformers={"activation_fn": name})
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    wishes = {"raw_scores": True} if labels > 1 and not activation else {}  # by itself it is probabilities
    [scores] = outputs(load("pair-scoring", folder), [{"pairs": PAIRS, **wishes}], tmp_path / "out")
    numpy.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_pair_of_empty_texts_is_a_pair(tmp_path: Path) -> None:
    folder = copied(reranker(tmp_path / "m", pad_token_id=0), tmp_path / "plain")
    t.PreTrainedTokenizerFast(tokenizer_object=word_pieces()._tokenizer, pad_token="[PAD]")
    model = load("pair-scoring", folder)
    [[score]] = outputs(model, [{"pairs": [["", ""]]}], tmp_path / "out")
    assert 0 < score < 1


LONG = "ada lives in rome and " * 60


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("text-classification", "BertForSequenceClassification"),
        ("text-classification", "RobertaForSequenceClassification"),
        ("token-classification", "BertForTokenClassification"),
        ("feature-extraction", "BertModel"),
        ("fill-mask", "BertForMaskedLM"),
    ],
)
def test_a_long_text_is_cut_and_it_is_said(tmp_path: Path, task: str, kind: str) -> None:
    folder = tmp_path / "m"
    if kind.startswith("Roberta"):
        torch.manual_seed(1)
        from tiny_models import BERT, save

        save(
            t.RobertaForSequenceClassification(t.RobertaConfig(**BERT, pad_token_id=0)), folder, word_pieces()
        )
    else:
        bert(folder, kind)
    model = load("pipeline", folder, task=task)
    good, long = "good [MASK] word", "[MASK] " + LONG
    batch = jobs(model, [{"text": text} for text in (good, long, good, good)], tmp_path / "out")
    events = list(model.run(batch, None))  # type: ignore[arg-type]
    endings = {job_id: event for job_id, event in events if isinstance(event, Finished)}
    assert endings["1"].metrics["input_tokens"] <= 64
    assert endings["1"].metrics["cut_tokens"] > 200
    assert [event.text for _, event in events if isinstance(event, Log)] == [
        f"The text has {sum(endings['1'].metrics.values())} tokens; the model reads the first"
        f" {endings['1'].metrics['input_tokens']} of them.\n"
    ]
    [alone] = outputs(model, [{"text": good}], tmp_path / "alone")
    assert "cut_tokens" not in endings["0"].metrics
    for number in ("0", "2", "3"):
        compare(endings[number].output, alone)


def compare(ours: Any, theirs: Any) -> None:
    """Equal but for rounding."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            compare(ours[name], theirs[name])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            compare(one, other)
    elif isinstance(ours, float):
        assert abs(ours - theirs) < 1e-4
    else:
        assert ours == theirs


def test_a_mask_that_is_cut_off_is_the_callers_to_mend(tmp_path: Path) -> None:
    model = load("pipeline", bert(tmp_path, "BertForMaskedLM"), task="fill-mask")
    with pytest.raises(ValueError, match=r"text: its \[MASK\] lies behind the first 64 tokens"):
        jobs(model, [{"text": LONG + "[MASK]"}], tmp_path)
    with pytest.raises(ValueError, match=r"text: has no \[MASK\]"):
        jobs(model, [{"text": "hello"}], tmp_path)
