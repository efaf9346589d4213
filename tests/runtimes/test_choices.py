"""What is decided at load: the precision by measuring, the pooling by the folder; what is not understood is
refused."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from running import Feed, jobs, load, outputs, run

from app.domain.work import Chunk, Failed, Finished, ModelSpec
from app.runtimes import dtype_choice
from app.runtimes.base import Runtime
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.dtype_choice import Comparison


def linear(dtype: str) -> torch.nn.Linear:
    torch.manual_seed(1)
    return torch.nn.Linear(64, 64).to(getattr(torch, dtype))


GIVEN = torch.ones(4, 64)


def compared(least: float, **more: bool) -> Comparison:
    return Comparison(
        lambda net: net(GIVEN.to(net.weight.dtype)),
        lambda a, b: 1 - float((a - b).abs().max()),
        least,
        **more,
    )


@pytest.mark.parametrize(("least", "expected"), [(0.9, {"bfloat16", "float32"}), (2.0, {"float32"})])
def test_half_precision_is_taken_only_where_the_answers_agree(least: float, expected: set[str]) -> None:
    used, facts = dtype_choice.measure(linear, "bfloat16", compared(least))
    assert facts["dtype"] in expected
    assert str(used.weight.dtype) == "torch." + facts["dtype"]
    assert 0.9 < facts["dtype_agreement"] <= 1


@pytest.fixture
def fast_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype_choice, "fast_half_precision", lambda device: "bfloat16")


@pytest.mark.usefixtures("fast_half")
def test_what_was_chosen_is_kept_and_the_next_load_measures_nothing(tmp_path: Path) -> None:
    model = ModelSpec("v" * 64, "a/b", "embedding", choices=str(tmp_path / "kept"))
    loads: list[str] = []

    def load_counted(dtype: str) -> torch.nn.Linear:
        loads.append(dtype)
        return linear(dtype)

    _, first = dtype_choice.choose(load_counted, tmp_path, model, compared(0.9))
    assert loads == ["float32", "bfloat16"]
    used, again = dtype_choice.choose(load_counted, tmp_path, model, compared(0.9))
    assert loads[2:] == [first["dtype"]]
    assert again == first
    assert str(used.weight.dtype) == "torch." + first["dtype"]
    for other in (replace(model, version="w" * 64), replace(model, threads=2)):
        dtype_choice.choose(load_counted, tmp_path, other, compared(0.9))
    assert len(loads) == 7
    for file in (tmp_path / "kept").iterdir():
        file.write_text("{broken")
    dtype_choice.choose(load_counted, tmp_path, model, compared(0.9))
    assert len(loads) == 9


@pytest.mark.usefixtures("fast_half")
def test_text_on_a_processor_stays_as_its_weights_were_saved(tmp_path: Path) -> None:
    model = ModelSpec("v", "a/b", "text-generation")
    used, facts = dtype_choice.choose(linear, tmp_path, model, compared(0.9, on_processors=False))
    assert (used.weight.dtype, facts["dtype"]) == (torch.float32, "float32")
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16"}')
    used, facts = dtype_choice.choose(linear, tmp_path, model, compared(0.9, on_processors=False))
    assert (used.weight.dtype, facts["dtype"]) == (torch.bfloat16, "bfloat16")


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
