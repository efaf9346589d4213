"""Experiment files: what they mean, and that a wrong field is named."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

from app.bench.experiment import SHIPPED, BadExperiment, Experiment, find, read
from app.bench.input_sources import Inputs, Texts

GOOD: dict[str, Any] = {"model": "demo/echo", "inputs": {"fixed": {"text": "x"}}}
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "bench.md").read_text()


def written(folder: Path, fields: dict[str, Any]) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_is_good(path: Path) -> None:
    asked = read(path)
    assert asked.name == path.stem
    assert asked.inputs.make()


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'model = "demo/echo"\nconcurrency = [1, 2]\n[inputs.fixed]\ntext = "x"\n'
    )
    assert read(tmp_path / "mine.toml") == read(written(tmp_path, {**GOOD, "concurrency": [1, 2]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "echo"}, "model: must be owner/name"),
        ({"concurrency": [4, 0]}, "concurrency.1: "),
        ({"concurrency": [4, 4]}, "concurrency: holds a level twice"),
        ({"batching": {"max_batch_size": "big"}}, "batching.max_batch_size: must be 'auto' or"),
        ({"batching": {"size": 3}}, "batching.size: is not a field here"),
        ({"count": 5, "duration": 5}, "count: give either"),
        ({"duration": float("nan")}, "duration: "),
        ({"mode": "open"}, "rate: is required"),
        ({"rate": [5]}, "rate: is for mode open"),
        ({"mode": "open", "rate": [5], "concurrency": [5]}, "concurrency: is for mode closed"),
        ({"preset": "fast"}, "preset: must be 'latency'"),
        ({"inputs": {}}, "inputs: give exactly one"),
        ({"inputs": {"fixed": {}, "list": [{}]}}, "inputs: give exactly one"),
        ({"inputs": {"texts": {"least": 9, "most": 3}}}, "inputs.texts: least: "),
        ({"inputs": {"texts": {"vary": {"n": [9, 3]}}}}, "inputs.texts: vary.n: "),
        ({"inputs": {"file": {"path": "gone.txt"}}}, "inputs.file: gone.txt: No such file"),
        ({"repeat": 3}, "repeat: is not a field here"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path, {**GOOD, **change})
    with pytest.raises(BadExperiment) as failure:
        read(path)
    assert f"{path}: {said}" in str(failure.value)


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "is not YAML"), ("- a", "must hold fields"), ("", "must hold fields")]
)
def test_a_file_that_holds_no_fields_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(BadExperiment, match=said):
        read(tmp_path / "mine.yaml")


def test_a_missing_files_sentence_lists_the_shipped_experiments() -> None:
    with pytest.raises(BadExperiment, match="echo, minilm, words"):
        find("nothing-here")
    assert find("echo").name == "echo.yaml"


def test_a_preset_lies_beneath_what_the_experiment_says(tmp_path: Path) -> None:
    asked = read(written(tmp_path, {**GOOD, "preset": "latency", "batching": {"max_batch_size": 9}}))
    assert asked.policy() == {"max_batch_size": 9, "max_wait_ms": 0}
    assert asked.callers == [1, 4, 16]
    assert read(written(tmp_path, {**GOOD, "concurrency": [3]}), {"preset": "throughput"}).callers == [3]


def test_a_change_takes_the_place_of_what_it_excludes(tmp_path: Path) -> None:
    path = written(tmp_path, {**GOOD, "count": 5, "concurrency": [3]})
    assert read(path, {"duration": 2}).seconds == 2
    assert read(path, {"mode": "open", "rate": [7]}).rate == [7]
    assert read(path).seconds is None


def test_a_single_level_needs_no_brackets(tmp_path: Path) -> None:
    assert read(written(tmp_path, {**GOOD, "concurrency": 3})).callers == [3]
    assert read(written(tmp_path, {**GOOD, "mode": "open", "rate": 2.5})).rate == [2.5]


def test_a_result_can_hold_every_experiment_and_read_it_again(tmp_path: Path) -> None:
    for change in (
        {},
        {"mode": "open", "rate": [7]},
        {"preset": "balanced"},
        {"inputs": {"list": [{"a": None}]}},
    ):
        asked = read(written(tmp_path, {**GOOD, **change}))
        assert Experiment.model_validate_json(asked.model_dump_json(by_alias=True)) == asked


def test_generated_texts_are_the_same_every_time_and_have_the_lengths_asked_for() -> None:
    asked = Texts(into="prompt", median=20, least=4, most=90, number=500, also={"a": 1}, vary={"n": [5, 9]})
    made = asked.make()
    assert made == asked.make()
    lengths = [len(one["prompt"].split()) for one in made]
    assert min(lengths) >= 4
    assert max(lengths) <= 90
    assert 17 <= median(lengths) <= 23
    assert {one["n"] for one in made} == {5, 6, 7, 8, 9}
    assert all(one["a"] == 1 for one in made)


@pytest.mark.parametrize(
    ("name", "text", "made"),
    [
        (
            "a.jsonl",
            '{"text": "a"}\n\n{"text": "b", "k": 2}\n',
            [{"k": 1, "text": "a"}, {"k": 2, "text": "b"}],
        ),
        ("a.json", '[{"text": "a"}]', [{"k": 1, "text": "a"}]),
        ("a.txt", "a\nb\n", [{"k": 1, "text": "a"}, {"k": 1, "text": "b"}]),
    ],
)
def test_inputs_come_from_files(tmp_path: Path, name: str, text: str, made: list[dict[str, Any]]) -> None:
    (tmp_path / name).write_text(text)
    asked = read(written(tmp_path, {**GOOD, "inputs": {"file": {"path": name, "also": {"k": 1}}}}))
    assert asked.inputs.make() == made


def test_every_field_is_on_the_page() -> None:
    for fields in (Experiment.model_fields, Texts.model_fields, Inputs.model_fields):
        missing = [name for name, field in fields.items() if f"`{field.alias or name}`" not in PAGE]
        assert not missing
