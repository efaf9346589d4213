"""What is decided at load: the precision by measuring, the pooling by the folder; what is not understood is
refused."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from running import Feed, jobs, load, outputs, run

from app.domain.work import Chunk, Failed, Finished
from app.runtimes import dtype_choice
from app.runtimes.base import Runtime
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.dtype_choice import Comparison
from app.runtimes.encoders import sentence_folder
from app.runtimes.encoders.embedding import pooled
from app.runtimes.encoders.sentence_folder import SentenceFolder


@pytest.mark.parametrize(("least", "expected"), [(0.9, {"bfloat16", "float32"}), (2.0, {"float32"})])
def test_half_precision_is_taken_only_where_the_answers_agree(
    monkeypatch, least: float, expected: set[str]
) -> None:
    monkeypatch.setattr(dtype_choice, "fast_half_precision", lambda device: "bfloat16")
    net = torch.nn.Linear(64, 64)
    given = torch.ones(4, 64)
    comparison = Comparison(
        lambda one: one(given.to(one.weight.dtype)), lambda a, b: 1 - float((a - b).abs().max()), least
    )
    used, facts = dtype_choice.choose(net, "cpu", comparison)
    assert facts["dtype"] in expected
    assert str(used.weight.dtype) == "torch." + facts["dtype"]
    assert 0.9 < facts["dtype_agreement"] <= 1


def test_auto_embeddings_stay_within_a_cosine_of_0_999(minilm: Runtime, tmp_path: Path) -> None:
    texts = {"text": ["The whale is white.", "x", "Something else, at some length: " + "word " * 90]}
    auto = load("embedding", demo_minilm_folder() or "", config={"dtype": "auto"})
    ours, theirs = outputs(auto, [texts], tmp_path / "a")[0], outputs(minilm, [texts], tmp_path / "b")[0]
    assert auto.facts()["dtype"] in ("bfloat16", "float32")
    assert (numpy.array(ours) * numpy.array(theirs)).sum(1).min() >= 0.999


def folder_of(
    path: Path, pooling: dict[str, Any] | None = None, modules: tuple[str, ...] = ("Transformer", "Pooling")
) -> Path:
    listed = [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"}
        for n, kind in enumerate(modules)
    ]
    (path / "modules.json").write_text(json.dumps(listed))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {}))
    return path


def test_a_folder_says_its_pooling_limit_and_prompt(tmp_path: Path) -> None:
    folder_of(tmp_path, {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True})
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 77, "do_lower_case": true}')
    (tmp_path / "config_sentence_transformers.json").write_text(
        '{"prompts": {"q": "query: "}, "default_prompt_name": "q"}'
    )
    expected = SentenceFolder("lasttoken", 77, True, "query: ", False, {"q": "query: "})
    assert sentence_folder.read(tmp_path) == expected


def test_a_plain_encoder_is_pooled_by_the_mean(tmp_path: Path) -> None:
    assert sentence_folder.read(tmp_path) == SentenceFolder()


@pytest.mark.parametrize(
    ("pooling", "modules", "words"),
    [
        ({}, ("Transformer", "Pooling", "Dense"), "has a Dense module"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            ("Transformer", "Pooling"),
            "mean, max",
        ),
        ({"pooling_mode": "wishful"}, ("Transformer", "Pooling"), "wishful"),
    ],
)
def test_what_would_be_embedded_wrongly_is_refused(tmp_path: Path, pooling, modules, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sentence_folder.read(folder_of(tmp_path, pooling, modules))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken"])
def test_poolings_are_those_of_sentence_transformers(pooling: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    hidden = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    theirs = "mean_sqrt_len_tokens" if pooling == "mean_sqrt_len" else pooling
    expected = Pooling(8, pooling_mode=theirs)({"token_embeddings": hidden, "attention_mask": mask})[
        "sentence_embedding"
    ]
    numpy.testing.assert_allclose(pooled(hidden, mask, pooling), expected, atol=1e-6)


def test_one_who_comes_late_has_a_first_token_within_three_steps(words: Runtime, tmp_path: Path) -> None:
    class Late(Feed):
        steps = 0

        def join(self, capacity: int):
            self.steps += 1
            return super().join(capacity) if self.steps > 10 else []

    given = {"prompt": "The whale", "max_new_tokens": 40, "temperature": 0}
    feed = Late(jobs(words, [given], tmp_path, first=1))
    came = first = 0
    for job_id, event in words.run(jobs(words, [given], tmp_path), feed):
        came = came or (feed.steps if not feed.late else 0)
        first = first or (feed.steps if job_id == "1" and isinstance(event, Chunk) else 0)
    assert first - came <= 3


def test_more_requests_than_slots_all_end(tmp_path: Path) -> None:
    from app.runtimes.demo import SHIPPED

    model = load("text-generation", SHIPPED / "words", config={"max_batch_size": 3})
    given = [{"prompt": "It " * (1 + n), "max_new_tokens": 3 + n % 4, "temperature": 0} for n in range(11)]
    ended, _ = run(model, jobs(model, given, tmp_path))
    assert [ended[str(n)].metrics["output_tokens"] for n in range(11)] == [3 + n % 4 for n in range(11)]  # type: ignore[union-attr]


@pytest.mark.alone
def test_echo_runs_side_by_side_and_fails_on_request(tmp_path: Path) -> None:
    import time

    model = load("echo")
    given = [
        {"text": "ab", "seconds": 0.6},
        {"text": "abcd", "chunks": 2, "seconds": 0.6},
        {"fail": "no"},
        {"file": True},
    ]
    began = time.monotonic()
    ended, chunks = run(model, jobs(model, given, tmp_path))
    assert 0.6 <= time.monotonic() - began < 1.15, "one after the other they would take 1.2 s"
    assert ended["0"] == Finished("ab")
    assert (ended["1"], chunks["1"]) == (Finished(["ab", "cd"]), ["ab", "cd"])
    assert ended["2"] == Failed("no")
    assert ended["3"] == Finished({"$file": "echo.txt"})
