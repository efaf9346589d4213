"""What every runtime promises: a well-formed schema, one ending for each by id, cancellation, clear
refusals."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from running import Feed, jobs, load, run

from app.domain.work import Canceled, Finished
from app.runtimes import registry
from app.runtimes.base import Runtime, RuntimeSpec

INPUTS: dict[str, list[dict[str, Any]]] = {
    "echo": [{"text": "a"}, {"text": "b", "chunks": 2}],
    "words": [
        {"prompt": "The", "max_new_tokens": 3},
        {"prompt": "A longer prompt here", "max_new_tokens": 5, "temperature": 0},
    ],
    "digits": [{"prompt": "one", "seed": 1}, {"prompt": "two", "seed": 2}],
    "minilm": [{"text": "short"}, {"text": ["several", "texts of different length are here"]}],
    "pairs": [{"query": "q", "texts": ["a", "b c d"]}, {"pairs": [["x", "y"]]}],
    "labels": [{"text": "nice"}, {"text": "not nice at all"}],
    "predictor": [{"name": "Ada"}, {"name": "Bob", "times": 2}],
}


@pytest.fixture(params=sorted(INPUTS))
def case(request, classifier_folder: Path, tmp_path: Path) -> tuple[Runtime, list[dict[str, Any]]]:
    makers = {
        "echo": lambda: load("echo"),
        "pairs": lambda: load("pair-scoring", classifier_folder),
        "labels": lambda: load("pipeline", classifier_folder, task="text-classification"),
        "predictor": lambda: load("python", predictor(tmp_path)),
    }
    runtime = makers[request.param]() if request.param in makers else request.getfixturevalue(request.param)
    return runtime, INPUTS[request.param]


def predictor(folder: Path) -> Path:
    (folder / "predictor.py").write_text(
        'def predict(name: str, times: int = 1) -> str:\n    return " ".join([name] * times)\n'
    )
    return folder


def test_a_batch_answers_everyone_by_id_and_as_json(case, tmp_path: Path) -> None:
    runtime, given = case
    batch = jobs(runtime, given, tmp_path)
    ended: dict[str, Any] = {}
    for key in dict.fromkeys(job.batch_key for job in batch):
        ended |= run(runtime, [job for job in batch if job.batch_key == key])[0]
    assert sorted(ended) == [job.id for job in batch]
    for event in ended.values():
        assert isinstance(event, Finished), event
        json.dumps(event.output)


def test_a_batch_gives_what_each_gives_alone(case, tmp_path: Path) -> None:
    runtime, given = case
    given = [{**one, "seed": 5} if "seed" in runtime.spec.inputs[""]["properties"] else one for one in given]
    together = {}
    batch = jobs(runtime, given, tmp_path)
    for key in dict.fromkeys(job.batch_key for job in batch):
        together |= run(runtime, [job for job in batch if job.batch_key == key])[0]
    for job in jobs(runtime, given, tmp_path / "alone"):
        assert close(run(runtime, [job])[0][job.id].output, together[job.id].output)


def close(a: Any, b: Any) -> bool:
    """Equal, numbers within 1e-4."""
    if isinstance(a, float):
        return abs(a - b) < 1e-4
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return close(sorted(a.items()), sorted(b.items())) if isinstance(a, dict) else a == b


@pytest.mark.parametrize("spec", registry.specs(), ids=lambda spec: spec.name)
def test_schemas_are_valid_and_every_number_and_text_has_a_bound(spec: RuntimeSpec) -> None:
    for schema in spec.inputs.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        orders = [one["x-order"] for one in schema["properties"].values()]
        assert orders == sorted(orders)
        for name, wanted in schema["properties"].items():
            if wanted.get("type") in ("integer", "number"):
                assert {"minimum", "maximum"} <= set(wanted), f"{spec.name}.{name}"
            if wanted.get("type") == "string" and wanted.get("format") != "uri" and "enum" not in wanted:
                assert "maxLength" in wanted, f"{spec.name}.{name}"
            if wanted.get("type") == "array":
                assert "maxItems" in wanted, f"{spec.name}.{name}"


def test_a_canceled_text_stops_at_the_next_step_and_its_neighbour_goes_on(
    words: Runtime, tmp_path: Path
) -> None:
    batch = jobs(
        words,
        [{"prompt": "The", "max_new_tokens": 200, "temperature": 0}, {"prompt": "A", "max_new_tokens": 8}],
        tmp_path,
    )
    ended, chunks = run(words, batch, Feed(cancel={"0": 3}))
    assert isinstance(ended["0"], Canceled)
    assert len(chunks["0"]) <= 5
    assert isinstance(ended["1"], Finished)


def test_a_canceled_picture_stops_before_its_last_step(digits: Runtime, tmp_path: Path) -> None:
    batch = jobs(digits, [{"prompt": "one", "steps": 50}], tmp_path)
    ended, _ = run(digits, batch, Feed(cancel={"0": 2}))
    assert isinstance(ended["0"], Canceled)
    assert not list(Path(batch[0].folder).iterdir())


@pytest.mark.parametrize("name", ["text-generation", "embedding", "pair-scoring"])
def test_pickled_weights_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="safetensors only"):
        load(name, tmp_path)
