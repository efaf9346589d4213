"""The examples of docs/runtimes.md work as they stand there."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from running import Feed, jobs, load, outputs, run

from app.domain.errors import InvalidRequest
from app.domain.signature import read_schemas
from app.domain.work import Finished, Progress
from app.runtimes import registry
from app.services.catalogue.version_maker import check_config

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (Path(__file__).parents[2] / "docs" / "runtimes.md").read_text()
GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "own-code.md").read_text()
RUNTIME, PREDICTOR = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def shout(tmp_path: Path):
    """The documented runtime, found as its file in a folder of RUNTIME_PATHS."""
    folder = tmp_path / "runtimes"
    folder.mkdir()
    (folder / "shout_runtime.py").write_text(RUNTIME)
    [report] = registry.discover([folder])
    assert report.error == ""
    yield report.spec
    registry.discover([])


def test_the_documented_runtime_is_found_and_runs(shout, tmp_path: Path) -> None:
    runtime = load("shout", config={"mark": "?"})
    assert outputs(runtime, [{"text": "lovage"}, {"text": "celery"}], tmp_path) == ["LOVAGE?", "CELERY?"]
    assert outputs(load("shout"), [{"text": "a"}], tmp_path) == ["A!"]


def test_the_documented_configuration_is_accepted(shout) -> None:
    check_config({"mark": "?", "max_batch_size": 8}, asdict(shout))
    with pytest.raises(InvalidRequest, match="is not read by the runtime 'shout'"):
        check_config({"dtype": "auto"}, asdict(shout))


def test_the_runtime_among_the_examples_is_the_documented_one() -> None:
    assert (EXAMPLES / "runtimes" / "shout_runtime.py").read_text().partition("\n\n")[2] == RUNTIME


def test_the_predictor_among_the_examples_sorts_says_how_far_it_is_and_measures(tmp_path: Path) -> None:
    source = (EXAMPLES / "models" / "sorter" / "predictor.py").read_text()
    inputs, _, streams = read_schemas(source)
    assert (list(inputs["properties"]), streams) == (["query", "texts", "order", "top"], False)
    model, feed = load("python", EXAMPLES / "models" / "sorter"), Feed()
    given = {"query": "the white whale", "texts": ["A ship in the bay", "It is a whale"], "order": "nearest"}
    [answer] = run(model, jobs(model, [given], tmp_path), feed)[0].values()
    assert answer == Finished(["It is a whale", "A ship in the bay"], {"words": 2})
    assert feed.sent == [("0", Progress(1, 2)), ("0", Progress(2, 2))]


def test_the_documented_predictor_runs(tmp_path: Path) -> None:
    (tmp_path / "predictor.py").write_text(PREDICTOR)
    assert outputs(load("python", tmp_path), [{"name": "Ada", "times": 2}], tmp_path) == ["Hello, Ada Ada"]


OF_OTHER_FORMATS = re.findall(r"```python\n(.*?)```", GUIDE, re.S)


def test_the_predictors_for_other_formats_say_what_they_take() -> None:
    inputs = [list(read_schemas(source)[0]["properties"]) for source in OF_OTHER_FORMATS]
    assert inputs == [["row"], ["text"], ["audio", "language", "task"], ["row"]]


def test_the_documented_predictor_of_scikit_learn_answers_as_the_library(tmp_path: Path) -> None:
    import joblib
    from sklearn.linear_model import LogisticRegression

    classes = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"])
    joblib.dump(classes, tmp_path / "model.joblib")
    (tmp_path / "predictor.py").write_text(OF_OTHER_FORMATS[-1])
    answers = outputs(load("python", tmp_path), [{"row": [0.5]}, {"row": [2.5]}], tmp_path / "out")
    assert answers == ["low", "high"]
