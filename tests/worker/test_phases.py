"""Where a prediction's time goes: every second of it in the phase that spent it, and none left out."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from accepting import accept, add_version, row
from waiting import eventually

from app.db import predictions as table
from app.domain.phases import PHASES
from app.runtimes.demo import demo_minilm_folder

SLACK = 0.5  # seconds that a busy machine may take for what costs milliseconds


def shown(parts: SimpleNamespace, ids: list[str]) -> list[dict[str, Any]]:
    """As GET answers them."""
    with parts.core.database.unit() as session:
        found = table.get(session, ids)
    return [parts.core.view.render(found[one]) for one in ids]


def run(parts: SimpleNamespace, version: str, *inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of each, once all have ended."""
    ids = accept(parts, *inputs, version=version)
    parts.intake.on_message(ids[0])
    eventually(lambda: all(one["completed_at"] for one in shown(parts, ids)), 60)
    found = [one["metrics"] for one in shown(parts, ids)]
    for metrics in found:
        assert_adds_up(metrics)
    return found


def assert_adds_up(metrics: dict[str, Any]) -> None:
    assert set(PHASES) <= set(metrics)
    assert all(metrics[name] >= 0 for name in PHASES)
    total = metrics["total_time"]
    assert abs(sum(metrics[name] for name in PHASES) - total) <= 0.02 * total + 0.003, metrics


@pytest.fixture
def working(parts: SimpleNamespace) -> SimpleNamespace:
    """The parts, running, with the version echo loaded."""
    parts.ending_writer.start()
    parts.intake.start()
    run(parts, parts.version, {"text": "loads it"})
    return parts


def test_a_plain_answer_is_accounted_for(working: SimpleNamespace) -> None:
    for metrics in run(working, working.version, *({"text": f"t{n}"} for n in range(20))):
        assert metrics["device"] == "cpu"
        assert 1 <= metrics["batch_size"] <= 20
        assert 0 <= metrics["padding"] < 1
        assert metrics["predict_time"] == metrics["run"]


def test_running_streaming_and_waiting_for_the_batch_are_distinguished(working: SimpleNamespace) -> None:
    [first] = accept(working, {"text": "abc", "chunks": 3, "seconds": 0.6})
    working.intake.on_message(first)
    eventually(lambda: [run.in_batch for run in working.in_flight.list_all()] == [True], 60)
    [behind] = run(working, working.version, {"text": "x", "seconds": 0.2})
    streamed = shown(working, [first])[0]["metrics"]
    assert_adds_up(streamed)
    assert 0.6 <= streamed["run"] < 0.6 + SLACK
    assert 0.2 <= behind["run"] < 0.2 + SLACK
    assert behind["batch_wait"] > 0.3, "it waited for the one that ran"


def test_waiting_for_a_worker_is_queue_and_loading_is_load(parts: SimpleNamespace) -> None:
    version = add_version(parts, "echo", load_seconds=0.5)
    ids = accept(parts, {"text": "early"}, version=version)
    time.sleep(0.4)  # no worker is there yet
    parts.ending_writer.start()
    parts.intake.start()
    parts.intake.on_message(ids[0])
    eventually(lambda: bool(shown(parts, ids)[0]["completed_at"]), 60)
    [metrics] = [one["metrics"] for one in shown(parts, ids)]
    assert_adds_up(metrics)
    assert metrics["queue"] >= 0.4
    assert metrics["load"] >= 0.5
    assert metrics["batch_wait"] + metrics["tokenise"] + metrics["run"] < SLACK


def test_a_slow_storage_is_store(working: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    put = working.core.storage.put

    def slowly(*what: Any) -> None:
        time.sleep(0.3)
        put(*what)

    monkeypatch.setattr(working.core.storage, "put", slowly)
    [metrics] = run(working, working.version, {"text": "kept", "file": True})
    assert metrics["store"] >= 0.3
    assert metrics["run"] < SLACK
    assert metrics["post"] < SLACK


def test_a_slow_commit_is_store_too(working: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = working.core.lifecycle.finish

    def slowly(*what: Any) -> Any:
        time.sleep(0.3)
        return finish(*what)

    monkeypatch.setattr(working.core.lifecycle, "finish", slowly)
    [metrics] = run(working, working.version, {"text": "x"})
    assert 0.3 <= metrics["store"] < 0.3 + SLACK


@pytest.mark.parametrize(
    ("given", "phase", "least"),
    [({"text": "x", "seconds": 0.3, "fail": True}, "run", 0.3), ({"text": "x", "seconds": 60}, "run", 0.3)],
)
def test_failures_timeouts_and_their_like_are_accounted_for(
    working: SimpleNamespace, given: dict[str, Any], phase: str, least: float
) -> None:
    timeout = 0.3 if given["seconds"] > 1 else None
    ids = list(working.core.lifecycle.accept([{**row(working.version, **given), "timeout": timeout}]))
    working.intake.on_message(ids[0])
    eventually(lambda: bool(shown(working, ids)[0]["completed_at"]), 60)
    [ended] = shown(working, ids)
    assert ended["status"] == ("failed" if given["seconds"] < 1 else "canceled")
    assert_adds_up(ended["metrics"])
    assert least <= ended["metrics"][phase] < least + SLACK
    assert ended["metrics"]["store"] < SLACK


def test_a_model_that_cannot_be_loaded_spent_its_time_loading(working: SimpleNamespace) -> None:
    version = add_version(working, "echo", load_seconds=0.3, load_error="no weights")
    [metrics] = run(working, version, {"text": "x"})
    assert metrics["load"] >= 0.3
    assert metrics["run"] == 0
    assert "batch_size" not in metrics


def test_one_canceled_in_the_queue_was_only_in_the_queue(parts: SimpleNamespace) -> None:
    ids = accept(parts, {"text": "x"})
    parts.core.lifecycle.cancel(ids)
    [ended] = shown(parts, ids)
    assert_adds_up(ended["metrics"])
    assert ended["metrics"]["queue"] == ended["metrics"]["total_time"]
    assert "predict_time" not in ended["metrics"]


@pytest.mark.skipif(demo_minilm_folder() is None, reason="the demo sentence encoder is not installed")
def test_an_embedding_is_accounted_for(working: SimpleNamespace) -> None:
    version = add_version(working, "embedding", f"path:{demo_minilm_folder()}")
    run(working, version, {"text": "loads it"})
    for metrics in run(working, version, *({"text": "many words " * (1 + n % 5)} for n in range(12))):
        assert metrics["tokenise"] > 0
        assert metrics["run"] > 0
        assert metrics["load"] < SLACK, "it was loaded"
