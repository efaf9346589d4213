"""Embeddings, scores, pictures and users' code: what their outputs are."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image
from running import Feed, jobs, load, outputs, run

from app.domain.work import Failed, Finished, Progress
from app.runtimes.base import Runtime
from app.runtimes.demo import SHIPPED, demo_minilm_folder
from app.runtimes.encoders.rows import cut_by_length

TEXTS = [
    "The whale is white.",
    "x",
    "A rather longer sentence about nothing in particular, with some commas, too.",
]


def test_embeddings_equal_sentence_transformers(minilm: Runtime, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(demo_minilm_folder()), device="cpu").encode(TEXTS)
    numpy.testing.assert_allclose(outputs(minilm, [{"text": TEXTS}], tmp_path)[0], reference, atol=1e-5)


def test_long_texts_are_cut_and_vectors_have_length_one(minilm: Runtime, tmp_path: Path) -> None:
    [vector] = outputs(minilm, [{"text": "word " * 5000}], tmp_path)
    assert abs(numpy.linalg.norm(vector) - 1) < 1e-5


def test_cls_pooling_and_no_normalisation_are_configurable(tmp_path: Path) -> None:
    model = load("embedding", demo_minilm_folder() or "", config={"pooling": "cls", "normalize": False})
    [vector] = outputs(model, [{"text": "x"}], tmp_path)
    assert numpy.linalg.norm(vector) > 1.01


def test_pair_scores_are_between_0_and_1_or_raw(classifier_folder: Path, tmp_path: Path) -> None:
    given = [{"query": "q", "texts": TEXTS}]
    [scores] = outputs(load("pair-scoring", classifier_folder), given, tmp_path)
    [raw] = outputs(load("pair-scoring", classifier_folder, config={"sigmoid": False}), given, tmp_path)
    numpy.testing.assert_allclose(scores, 1 / (1 + numpy.exp(-numpy.array(raw))), atol=1e-5)


def test_pairs_without_texts_are_refused(classifier_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="query"):
        jobs(load("pair-scoring", classifier_folder), [{"query": "only"}], tmp_path)


def test_groups_of_similar_length_stay_within_the_budget() -> None:
    groups = list(cut_by_length([5, 100, 7, 90, 6], 200))
    assert sorted(n for group in groups for n in group) == [0, 1, 2, 3, 4]
    assert groups == [[0, 4, 2], [3, 1]]


def test_pictures_have_the_asked_size_and_seeds_make_them_repeatable(digits: Runtime, tmp_path: Path) -> None:
    given = {"prompt": "seven", "seed": 4, "num_images": 2}
    [names] = outputs(digits, [given], tmp_path / "a")
    [again] = outputs(digits, [{**given, "seed": 5, "num_images": 1}], tmp_path / "b")
    first = [Image.open(tmp_path / "a" / "0" / name["$file"]).copy() for name in names]  # reads and closes
    assert first[0].size == (32, 32)
    other = Image.open(tmp_path / "b" / "0" / again[0]["$file"])
    assert numpy.array_equal(numpy.asarray(first[1]), numpy.asarray(other)), (
        "picture n of seed s is picture 0 of seed s+n"
    )


def test_a_size_that_the_model_cannot_make_is_refused(digits: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiples"):
        jobs(digits, [{"prompt": "one", "width": 33}], tmp_path)


def test_zero_shot_labels_and_unknown_tasks(classifier_folder: Path) -> None:
    with pytest.raises(ValueError, match="the task must be one of"):
        load("pipeline", classifier_folder, task="poetry")


PREDICTOR = """
import json
import shutil
from pathlib import Path
class Predictor:
    def load(self, device):
        self.device = device
    def predict(self, mode: str, picture: Path = None):
        if mode == "stream":
            return (part for part in "abc")
        if mode == "file":
            Path("made-by-test.txt").write_text("made")
            return Path("made-by-test.txt")
        if mode == "read":
            return picture.read_text()
        raise RuntimeError("broken on purpose")
"""


def test_a_users_predictor_answers_streams_reads_and_makes_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "predictor.py").write_text(PREDICTOR)
    (tmp_path / "in.txt").write_text("given")
    model = load("python", tmp_path)
    batch = jobs(
        model,
        [
            {"mode": "stream"},
            {"mode": "file"},
            {"mode": "read", "picture": str(tmp_path / "in.txt")},
            {"mode": "x"},
        ],
        tmp_path,
    )
    ended, chunks = run(model, batch)
    assert ended["0"] == Finished(["a", "b", "c"])
    assert chunks["0"] == ["a", "b", "c"]
    assert ended["1"] == Finished({"$file": "made-by-test.txt"})
    assert ended["2"] == Finished("given")
    assert ended["3"] == Failed("RuntimeError: broken on purpose")


def test_pictures_of_one_request_are_drawn_in_parts_that_fit(tmp_path: Path) -> None:
    small = load("image-generation", SHIPPED / "digits", config={"default_steps": 2, "images_at_once": 2})
    batch = jobs(
        small, [{"prompt": "seven", "seed": 4, "num_images": 3}, {"prompt": "one", "seed": 9}], tmp_path
    )
    said = list(small.run(batch, Feed()))
    endings = {job_id: event for job_id, event in said if isinstance(event, Finished)}
    assert [len(endings[job.id].output) for job in batch] == [3, 1]
    progress = [event for job_id, event in said if job_id == "0" and isinstance(event, Progress)]
    assert progress[-1] == Progress(4, 4)
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    [alone] = outputs(small, [{"prompt": "seven", "seed": 6}], tmp_path / "alone")
    pictures = [
        Image.open(tmp_path / "0" / "output-2.png"),
        Image.open(tmp_path / "alone" / "0" / alone[0]["$file"]),
    ]
    assert numpy.array_equal(*(numpy.asarray(picture) for picture in pictures))


def test_a_pipeline_may_not_bring_code_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    shutil.copytree(SHIPPED / "digits", folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": ["evil", "Evil"]}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load("image-generation", folder)
    assert not (tmp_path / "ran").exists()


def folder_with_prompts(tmp_path: Path, *modules: str) -> Path:
    """MiniLM with prompts for queries and documents, and with these modules."""
    folder = Path(shutil.copytree(demo_minilm_folder() or "", tmp_path / "with-prompts"))
    listed = json.loads((folder / "modules.json").read_text())
    kept = [each for each in listed if each["type"].rpartition(".")[2] in modules]
    (folder / "modules.json").write_text(json.dumps(kept))
    prompts = {"query": "query: ", "document": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return folder


def test_prompts_are_chosen_and_lengths_kept_as_sentence_transformers_does(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = folder_with_prompts(tmp_path, "Transformer", "Pooling")
    reference = SentenceTransformer(str(folder), device="cpu")
    model = load("embedding", folder)
    query, kind, own, plain = outputs(
        model,
        [
            {"text": ["x"], "prompt_name": "query"},
            {"text": ["x"], "input_type": "search_query"},
            {"text": ["x"], "prompt": "passage: "},
            {"text": ["x"]},
        ],
        tmp_path,
    )
    numpy.testing.assert_allclose(query, reference.encode(["x"], prompt_name="query"), atol=1e-4)
    numpy.testing.assert_allclose(own, reference.encode(["x"], prompt_name="document"), atol=1e-4)
    numpy.testing.assert_allclose(plain, reference.encode(["x"]), atol=1e-4)
    assert kind == query
    assert numpy.linalg.norm(plain) > 1.01, "no Normalize in the folder: vectors keep their length"
    for wrong in ({"prompt_name": "poem"}, {"input_type": "poem"}, {"prompt": "a", "prompt_name": "query"}):
        with pytest.raises(ValueError, match=r"poem.*query, document|stands for"):
            jobs(model, [{"text": "x", **wrong}], tmp_path)


def test_vectors_may_keep_their_length_beside_those_that_do_not(minilm: Runtime, tmp_path: Path) -> None:
    [raw] = outputs(minilm, [{"text": "whale", "normalize": False}], tmp_path)
    [scaled] = outputs(minilm, [{"text": "whale", "input_type": "query"}], tmp_path)
    assert numpy.linalg.norm(raw) > 1.01
    numpy.testing.assert_allclose(numpy.array(raw) / numpy.linalg.norm(raw), scaled, atol=1e-5)


def test_a_request_may_ask_for_raw_scores(classifier_folder: Path, tmp_path: Path) -> None:
    model, pairs = load("pair-scoring", classifier_folder), {"query": "q", "texts": TEXTS}
    [scores] = outputs(model, [pairs], tmp_path)
    [raw] = outputs(model, [{**pairs, "raw_scores": True}], tmp_path)
    numpy.testing.assert_allclose(scores, 1 / (1 + numpy.exp(-numpy.array(raw))), atol=1e-5)
