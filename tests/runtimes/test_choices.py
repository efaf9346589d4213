"""What is decided at load: the precision by measuring, the pooling by the folder; what is not understood is
refused."""

from pathlib import Path

import numpy
import pytest
import torch
from running import Feed, jobs, load, outputs, run

from app.domain.work import Chunk, Failed, Finished
from app.runtimes import dtype_choice
from app.runtimes.base import Runtime
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.dtype_choice import Comparison


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
