"""Folders of people's own code, Lovage's and cog's: what goes in, what comes out."""

from pathlib import Path
from typing import Any

import pytest
from running import Feed, jobs, load, outputs, run

from app.domain.work import Canceled, Failed, Finished


def folder_of(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "predictor.py").write_text(source)
    return folder


@pytest.mark.parametrize(
    "annotation",
    ["list[Path]", "Optional[list[Path]]", "list[Path] | None", "List[Path]", "'list[Path]'"],
)
def test_a_list_of_files_is_a_list_of_paths(tmp_path: Path, annotation: str) -> None:
    source = f"""
from pathlib import Path
from typing import List, Optional

def predict(files: {annotation}) -> int:
    return sum(file.stat().st_size for file in files)
"""
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.write_text("12345")
    model = load("python", folder_of(tmp_path, source))
    assert outputs(model, [{"files": [str(file) for file in files]}], tmp_path) == [10]


COG = """
from cog import BaseModel, BasePredictor, ConcatenateIterator, Input, Path

STYLES = {"plain": "", "loud": "!"}

class Output(BaseModel):
    text: str
    file: Path

class Predictor(BasePredictor):
    def setup(self, weights=None):
        self.ready = True

    def predict(self, style: str = Input(default="loud", choices=list(STYLES)), file: Path = None) -> Output:
        assert self.ready
        Path("made.txt").write_text(style)
        return Output(text="hello" + STYLES[style], file=Path("made.txt"))
"""


COG_METRICS = """
from cog import BasePredictor, current_scope, emit_metric, streaming

current_scope().record_metric("outside", 1)

class Predictor(BasePredictor):
    @streaming
    {declaration} predict(self, name: str) -> str:
        scope = current_scope()
        scope.record_metric("temperature", 0.7)
        scope.metrics["tokens"] = len(name)
        scope.metrics.record("tokens", 2, mode="incr")
        self.record_metric("steps", 1, mode="append")
        self.scope.record_metric("steps", 2, "append")
        scope.record_metric("gone", 1)
        del scope.metrics["gone"]
        emit_metric("old", 3)
        if name == "bad":
            scope.record_metric("x", 1, mode="sum")
        {answer}
"""


@pytest.mark.parametrize(
    ("declaration", "answer"),
    [
        ("def", "return name"),
        ("async def", "return name"),
        ("def", "yield name"),
        ("async def", "yield name"),
    ],
)
def test_metrics_by_cogs_scope_are_of_the_running_prediction(
    tmp_path: Path, declaration: str, answer: str
) -> None:
    source = COG_METRICS.format(declaration=declaration, answer=answer)
    model = load("python", folder_of(tmp_path, source))
    given = [{"name": "ada"}, {"name": "bad"}, {"name": "x"}]
    ended, _ = run(model, jobs(model, given, tmp_path))
    first, bad, last = (ended[number] for number in "012")
    assert isinstance(first, Finished)
    assert first.metrics == {"temperature": 0.7, "tokens": 5, "steps": [1, 2], "old": 3}
    assert isinstance(bad, Failed)
    assert "metric 'x': mode must be one of replace, incr, append, not 'sum'" in bad.error
    assert isinstance(last, Finished)
    assert last.metrics["tokens"] == 3, "nothing of the one before"


def test_a_cog_folder_runs_without_cog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = load("python", folder_of(tmp_path, COG))
    loud, plain = outputs(model, [{}, {"style": "plain"}], tmp_path / "out")
    assert loud == {"text": "hello!", "file": {"$file": "made.txt"}}
    assert plain["text"] == "hello"


ASYNC = """
import asyncio
from dataclasses import dataclass

@dataclass
class Answer:
    number: int

class Predictor:
    async def load(self):
        self.lock = asyncio.Lock()

    async def predict(self, n: int):
        async with self.lock:
            await asyncio.sleep(0)
        if n < 0:
            raise RuntimeError("no such number")
        return Answer(n + 1)
"""


def test_an_async_predict_is_awaited(tmp_path: Path) -> None:
    model = load("python", folder_of(tmp_path, ASYNC))
    ended, _ = run(model, jobs(model, [{"n": 1}, {"n": -1}, {"n": 2}], tmp_path))
    assert ended["0"] == Finished({"number": 2})
    assert ended["1"] == Failed("RuntimeError: no such number")
    assert ended["2"] == Finished({"number": 3})
    model.unload()


def test_an_async_generator_streams_and_stops(tmp_path: Path) -> None:
    source = """
closed = []

async def predict(n: int):
    try:
        for number in range(n):
            yield str(number)
    finally:
        closed.append(n)
"""
    model = load("python", folder_of(tmp_path, source))
    ended, chunks = run(model, jobs(model, [{"n": 3}, {"n": 50}], tmp_path), Feed(cancel={"1": 4}))
    assert ended["0"] == Finished(["0", "1", "2"])
    assert chunks["0"] == ["0", "1", "2"]
    assert ended["1"] == Canceled()
    predictor: Any = model._predictor  # type: ignore[attr-defined]
    assert predictor.closed == [3, 50]


BATCH = """
def predict(text: str) -> str:
    raise NotImplementedError

def predict_batch(inputs):
    return [ValueError("empty") if not each["text"] else each["text"].upper() for each in inputs][:{most}]
"""


def test_what_waits_together_is_predicted_together(tmp_path: Path) -> None:
    model = load("python", folder_of(tmp_path, BATCH.format(most=9)))
    assert model.batches
    batch = jobs(model, [{"text": text} for text in ("a", "", "b")], tmp_path)
    ended, _ = run(model, batch)
    assert ended == {"0": Finished("A"), "1": Failed("ValueError: empty"), "2": Finished("B")}


def test_a_batch_that_does_not_answer_everyone_answers_nobody(tmp_path: Path) -> None:
    model = load("python", folder_of(tmp_path, BATCH.format(most=1)))
    batch = jobs(model, [{"text": "a"}, {"text": "b"}], tmp_path)
    with pytest.raises(RuntimeError, match="gave 1 answers to 2 inputs"):
        run(model, batch)


@pytest.mark.parametrize(
    "call",
    [
        "progress(2, 1)",
        "metric('a', None)",
        "metric('a', [0] * 999)",
        "metric('a', float('nan'))",
        "metric('a', 'x' * 999)",
    ],
)
def test_what_a_predictor_says_wrongly_fails_its_prediction(tmp_path: Path, call: str) -> None:
    source = f"from lovage import Context\ndef predict(context: Context) -> int:\n    return context.{call}\n"
    model = load("python", folder_of(tmp_path, source))
    [ending] = run(model, jobs(model, [{}], tmp_path))[0].values()
    assert isinstance(ending, Failed)
    assert ending.error.startswith("ValueError: ")
