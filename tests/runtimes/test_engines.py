"""What runs an encoder on a processor: the fastest candidate that agrees, kept for later loads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx_files
import pytest
import torch
from running import load, outputs
from tiny_models import VOCABULARY, bert

from app.runtimes.encoders import batch_times
from app.runtimes.engines import candidates, engine_choice, openvino_graphs
from app.runtimes.engines.engine_choice import Candidate, Yardstick

TEXTS = ["the whale is white", "rome", "ada lives in rome, and hello good bad whale"]


@pytest.fixture(autouse=True)
def _one_run_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_times, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(batch_times, "LEAST_RUNS", 1)


class Net:
    """Answers its number and takes its time."""

    def __init__(self, answer: float, seconds: float) -> None:
        self.value, self.seconds = answer, seconds


def candidate(engine: str, answer: float = 1.0, seconds: float = 1.0, **more: Any) -> Candidate:
    return Candidate(engine, more.pop("dtype", "float32"), lambda: (Net(answer, seconds), {}), **more)


def yardstick(least: float = 0.99) -> Yardstick:
    return Yardstick(
        lambda net: torch.tensor([net.value]),
        lambda a, b: 1.0 - float((a - b).abs().max()),
        least,
        lambda net, facts: [net.seconds, net.seconds],
    )


TORCH = candidate("torch")


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([candidate("openvino", 1.001, 0.5)], "openvino"),
        ([candidate("openvino", 1.2, 0.5)], "torch"),
        ([candidate("openvino", 1.0, 0.99)], "torch"),
        ([candidate("onnxruntime", 1.0, 0.8), candidate("openvino", 1.0, 0.5)], "openvino"),
        ([candidate("onnxruntime", 1.0, 0.5), candidate("openvino", 1.0, 0.8)], "onnxruntime"),
        (
            [Candidate("onnxruntime", "float32", skipped="no file"), candidate("openvino", 1.0, 0.5)],
            "openvino",
        ),
    ],
)
def test_the_fastest_that_agrees_is_used(others: list[Candidate], expected: str) -> None:
    _, facts = engine_choice.choose([TORCH, *others], yardstick(), None)
    assert facts["engine"] == expected
    assert [each["engine"] for each in facts["engines"]] == ["torch", *(each.engine for each in others)]


def raising(sentence: str) -> Callable[[], Any]:
    def load() -> Any:
        raise RuntimeError(sentence)

    return load


def test_an_engine_that_cannot_run_the_network_is_skipped_with_its_reason() -> None:
    broken = Candidate("openvino", "float32", raising("no operation Foo"))
    _, facts = engine_choice.choose([TORCH, broken], yardstick(), None)
    assert facts["engine"] == "torch"
    assert facts["engines"][1]["skipped"] == "RuntimeError: no operation Foo"


def test_what_was_chosen_is_kept_until_it_cannot_be_opened(tmp_path: Path) -> None:
    file, loads = tmp_path / "kept.json", []

    def load_counted() -> Any:
        loads.append("openvino")
        return Net(1.0, 0.5), {}

    fast = Candidate("openvino", "float32", load_counted)
    counted = Candidate("torch", "float32", lambda: (loads.append("torch"), (Net(1.0, 1.0), {}))[1])
    _, first = engine_choice.choose([counted, fast], yardstick(), file)
    assert loads == ["torch", "openvino"]
    _, again = engine_choice.choose([counted, fast], yardstick(), file)
    assert (loads[2:], again) == (["openvino"], first)
    gone = Candidate("openvino", "float32", raising("its file is gone"))
    net, facts = engine_choice.choose([counted, gone], yardstick(), file)
    assert (facts["engine"], net.seconds) == ("torch", 1.0)
    assert json.loads(file.read_text())["engine"] == "torch"


def test_an_engine_that_the_version_names_must_agree_with_torch() -> None:
    measure = candidate("torch", is_measure=True)
    net, facts = engine_choice.choose([measure, candidate("openvino", 1.0, 2.0)], yardstick(), None)
    assert (facts["engine"], net.seconds) == ("openvino", 2.0)
    with pytest.raises(ValueError, match=r"openvino cannot be used: its agreement is 0\.5"):
        engine_choice.choose([measure, candidate("openvino", 1.5, 0.1)], yardstick(), None)


def test_an_onnx_file_beside_the_weights_is_tried_and_held_against_them(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    matrix = numpy.random.default_rng(1).normal(size=(len(VOCABULARY), 8)).astype("float32")
    onnx_files.encoder(folder / "model.onnx", matrix)  # of another network
    model = load("embedding", folder)
    facts = model.facts()
    assert facts["engine"] == "torch"
    assert [each["engine"] for each in facts["engines"]][:2] == ["torch", "onnxruntime"]
    assert "skipped" in facts["engines"][1] or facts["engines"][1]["agreement"] < 0.999
    with pytest.raises(ValueError, match="engine: onnxruntime cannot be used"):
        load("embedding", folder, config={"engine": "onnxruntime"})


@pytest.mark.skipif(bool(openvino_graphs.version()), reason="OpenVINO is installed")
def test_openvino_that_is_not_installed_is_named(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    assert load("embedding", folder).facts()["engines"][-1]["skipped"] == openvino_graphs.MISSING
    with pytest.raises(ValueError, match="pip install 'lovage\\[openvino\\]'"):
        load("embedding", folder, config={"engine": "openvino"})


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["embedding", "pair-scoring"])
def test_openvino_gives_torchs_numbers_and_its_graph_is_kept(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("openvino")
    is_vector = kind == "embedding"
    folder = bert(
        tmp_path / "bert", "BertModel" if is_vector else "BertForSequenceClassification", num_labels=1
    )
    given = {"text": TEXTS} if is_vector else {"query": "whale", "texts": TEXTS}
    expected = outputs(load(kind, folder, config={"engine": "torch"}), [given], tmp_path / "a")[0]
    for run in ("first", "again"):
        model = load(kind, folder, config={"engine": "openvino"}, choices=str(tmp_path / "kept"))
        assert model.facts()["engine"] == "openvino"
        actual = outputs(model, [given], tmp_path / run)[0]
        numpy.testing.assert_allclose(actual, expected, atol=1e-4)
    assert len(list((tmp_path / "kept" / "graphs").iterdir())) == 1


def test_the_longest_unused_graphs_make_way(tmp_path: Path) -> None:
    import os

    for number, name in enumerate(("old", "new", "now")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (number, number))
    openvino_graphs.remove_oldest(tmp_path, 20, keep=tmp_path / "now")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["new", "now"]


def test_large_weights_and_a_version_that_says_how_torch_runs_them_are_torchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bert(tmp_path / "bert")
    onnx_files.encoder(folder / "model.onnx", numpy.ones((len(VOCABULARY), 8), dtype="float32"))
    assert "engines" not in load("embedding", folder, config={"fused": False}).facts()
    monkeypatch.setattr(candidates, "MOST_BYTES", 10)
    assert "engines" not in load("embedding", folder).facts()
