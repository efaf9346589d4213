"""ONNX files: encoders and rerankers in the place of torch's weights, and any graph by its signature."""

import json
from pathlib import Path

import numpy
import onnx_files
import pytest
import torch
from running import jobs, load, outputs, run
from tiny_models import VOCABULARY, word_pieces

from app.domain.work import Failed, Finished
from app.runtimes.base import Runtime
from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_kind import kind_of
from app.services.catalogue.sources import SourceReader

MATRIX = numpy.random.default_rng(1).normal(size=(len(VOCABULARY), 8)).astype("float32")
TEXTS = ["the whale is white", "rome", "ada lives in rome, and hello good bad whale"]


def encoder_folder(folder: Path, architecture: str) -> Path:
    word_pieces().save_pretrained(folder)
    config = {"model_type": "bert", "architectures": [architecture], "vocab_size": len(VOCABULARY)}
    (folder / "config.json").write_text(json.dumps(config | {"num_labels": 1, "id2label": {"0": "x"}}))
    return folder


@pytest.fixture
def embedder(tmp_path: Path) -> Path:
    folder = encoder_folder(tmp_path / "embedder", "BertModel")
    onnx_files.encoder(folder / "onnx" / "model.onnx", MATRIX)
    onnx_files.encoder(folder / "onnx" / "model_quantized.onnx", MATRIX * 2)
    return folder


def means(texts: list[str], matrix: numpy.ndarray = MATRIX) -> numpy.ndarray:
    return numpy.stack([matrix[word_pieces()(text)["input_ids"]].mean(0) for text in texts])


def kind(folder: Path) -> tuple[str, str] | None:
    files = SourceReader([folder.parent]).inspect(f"path:{folder}").files
    assert files is not None
    found = kind_of(files)
    assert found is None or list_problems(files, *found) == []
    return found


def test_an_encoder_in_onnx_gives_the_vectors_of_its_graph(embedder: Path, tmp_path: Path) -> None:
    assert kind(embedder) == ("embedding", "")
    model = load("embedding", embedder)
    together = outputs(model, [{"text": TEXTS}], tmp_path / "a")[0]
    numpy.testing.assert_allclose(together, means(TEXTS), atol=1e-5)
    alone = [outputs(model, [{"text": text}], tmp_path / text[:4])[0] for text in TEXTS]
    numpy.testing.assert_allclose(alone, together, atol=1e-5)
    assert model.facts()["engine"] == "onnxruntime"


def test_another_file_of_the_folder_is_chosen_by_a_setting(embedder: Path, tmp_path: Path) -> None:
    config = {"onnx_file": "onnx/model_quantized.onnx", "onnx_optimization": "basic", "onnx_provider": "cpu"}
    model = load("embedding", embedder, config=config)
    numpy.testing.assert_allclose(
        outputs(model, [{"text": TEXTS}], tmp_path)[0], means(TEXTS, MATRIX * 2), atol=1e-4
    )


def test_a_reranker_in_onnx_scores_alike_alone_and_amid_others(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "scorer", "BertForSequenceClassification")
    onnx_files.scorer(folder / "model.onnx", MATRIX[:, 0])
    assert kind(folder) == ("pair-scoring", "")
    model = load("pair-scoring", folder)
    one = outputs(model, [{"query": "whale", "texts": ["white"]}], tmp_path / "a")[0]
    ids = word_pieces()("whale", "white")["input_ids"]
    expected = torch.sigmoid(torch.tensor(float(MATRIX[ids, 0].mean())))
    numpy.testing.assert_allclose(one, [float(expected)], atol=1e-5)


@pytest.fixture
def adder(tmp_path: Path) -> Runtime:
    onnx_files.adder(tmp_path / "adder" / "sum.onnx")
    assert kind(tmp_path / "adder") == ("onnx", "")
    return load("onnx", tmp_path / "adder")


def test_any_graph_takes_and_gives_tensors_by_their_names(adder: Runtime, tmp_path: Path) -> None:
    given = {"tensors": {"x": [[1, 2, 3], [4, 5, 6]], "y": [[1, 1, 1], [2, 2, 2]]}}
    [answer] = outputs(adder, [given], tmp_path)
    assert answer == {"sum": [[2, 3, 4], [6, 7, 8]], "difference": [[0, 1, 2], [2, 3, 4]]}
    assert adder.facts()["inputs"] == {"x": "float32 ['rows', 3]", "y": "float32 ['rows', 3]"}


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"x": [[1, 2, 3]]}, "lacks 'y'; the graph's inputs are: x, y"),
        ({"x": [[1, 2, 3]], "y": [[1, 2, 3]], "z": 1}, "has no input 'z'"),
        ({"x": [[1, 2]], "y": [[1, 2, 3]]}, r"'x' has the shape \[1, 2\], the graph takes \['rows', 3\]"),
        ({"x": [1, 2, 3], "y": [[1, 2, 3]]}, "'x' has the shape"),
        ({"x": [[1, 2], [3]], "y": [[1, 2, 3]]}, "'x' is no tensor of float32"),
        ({"x": "text", "y": [[1, 2, 3]]}, "'x' is no tensor of float32"),
    ],
)
def test_tensors_that_do_not_fit_are_the_callers_to_mend(
    adder: Runtime, tmp_path: Path, tensors: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        jobs(adder, [{"tensors": tensors}], tmp_path)


def test_an_answer_that_is_not_finite_fails_and_its_neighbour_does_not(
    adder: Runtime, tmp_path: Path
) -> None:
    odd = {"tensors": {"x": [[onnx_files.infinity()] * 3], "y": [[1, 1, 1]]}}
    good = {"tensors": {"x": [[0, 0, 0]], "y": [[1, 1, 1]]}}
    ended, _ = run(adder, jobs(adder, [odd, good], tmp_path))
    assert isinstance(ended["0"], Failed)
    assert "not finite" in ended["0"].error
    assert isinstance(ended["1"], Finished)


def test_a_broken_file_and_one_among_many_are_sentences(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    onnx_files.adder(folder / "a.onnx")
    onnx_files.adder(folder / "b.onnx")
    with pytest.raises(
        ValueError, match=r"several ONNX files, say which by the setting onnx_file: a\.onnx, b\.onnx"
    ):
        load("onnx", folder)
    (folder / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"ONNX Runtime does not open a\.onnx") as refused:
        load("onnx", folder, config={"onnx_file": "a.onnx"})
    assert str(folder) not in str(refused.value)
    with pytest.raises(ValueError, match="onnx_provider: cuda is not in this worker's ONNX Runtime"):
        load("onnx", folder, config={"onnx_file": "b.onnx", "onnx_provider": "cuda"})
