"""Ordinary life: work in, events out; batches, logs, cancellation, loading, unloading. Real processes."""

import gc
import os
import signal
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_support import Start, ending, events_of, spec, submit, work
from waiting import eventually

from app.domain.errors import ModelUnavailable
from app.domain.work import Canceled, Chunk, Failed, Finished, Log, ModelSpec, Progress, Started, Work
from app.engine import model_cache
from app.engine.deadlines import Timeouts
from app.engine.engine import Engine

pytestmark = pytest.mark.quiet  # they hold the engine to deadlines of a second

MODEL_SECONDS = {"load", "tokenise", "batch_wait", "run"}


def test_an_item_is_started_and_finished_with_its_measured_seconds(shared_engine: Engine) -> None:
    began = time.monotonic()
    started, finished = events_of(shared_engine, spec("echo"), Work("one", {"text": "hi"}))
    total = time.monotonic() - began
    assert started == Started(1)
    assert isinstance(finished, Finished)
    assert finished.output == "hi"
    parts = sum(finished.metrics[name] for name in MODEL_SECONDS)
    assert parts <= total
    assert total - parts < 0.5
    assert finished.metrics["batch_size"] == 1


class Values(dict[str, Any]):
    """An input that says when it is gone."""


def test_an_input_is_gone_when_its_item_has_ended(shared_engine: Engine) -> None:
    """Without the garbage collector: it runs so seldom that a worker held a gigabyte of what was answered."""
    model = spec()
    for do in ("", "bad", "steps"):
        values = Values(do=do, text="x", steps=2)
        alive = weakref.ref(values)
        submission = submit(shared_engine, model, Work(f"gone-{do}", values))
        del values
        gc.disable()
        try:
            assert isinstance(ending(submission), Finished | Failed)
            eventually(lambda alive=alive: alive() is None)
        finally:
            gc.enable()


def test_what_waited_is_the_next_batch(shared_engine: Engine) -> None:
    model = spec()
    first = submit(shared_engine, model, work(seconds=0.2))
    eventually(
        lambda: [loaded.in_use for loaded in shared_engine.models() if loaded.version == model.version] == [1]
    )
    next(first.events())
    rest = [submit(shared_engine, model, work("sizes")) for _ in range(10)]
    assert [ending(handle).output for handle in rest] == [[1, 10]] * 10


def test_a_process_that_does_not_read_keeps_no_sender_waiting(shared_engine: Engine) -> None:
    model, texts = (
        spec("echo"),
        [str(number) * 20_000 for number in range(100)],
    )  # many times what a socket holds
    pid = shared_engine.load(model).pid
    os.kill(pid, signal.SIGSTOP)
    handles = [submit(shared_engine, model, Work(f"late-{text[:4]}", {"text": text})) for text in texts]
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    os.kill(pid, signal.SIGCONT)
    assert [ending(handle).output for handle in handles] == texts


def test_batches_keep_the_versions_limits_and_keys(shared_engine: Engine) -> None:
    model = spec(max_batch_size=4, max_batch_tokens=20)
    shared_engine.load(model)
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [
        submit(shared_engine, model, work("sizes", key="a" if i % 2 else "b", length=10)) for i in range(6)
    ]
    for handle in handles:
        assert ending(handle).metrics["batch_size"] <= 2


def test_a_batch_may_wait_to_fill_and_is_described(shared_engine: Engine) -> None:
    model = spec(max_wait_ms=300, max_batch_size=3)
    shared_engine.load(model)
    first = submit(shared_engine, model, work("sizes", length=4))
    time.sleep(0.05)
    others = [submit(shared_engine, model, work("sizes", length=3)) for _ in range(2)]
    assert [ending(handle).output for handle in (first, *others)] == [[3]] * 3
    [described] = [loaded for loaded in shared_engine.models() if loaded.version == model.version]
    assert (described.last_batch, described.padding) == (3, pytest.approx(2 / 12, abs=0.001))


def test_chunks_progress_and_logs_come_in_order(shared_engine: Engine) -> None:
    events = events_of(shared_engine, spec(), work("steps", steps=3))
    kinds = [type(event) for event in events if not isinstance(event, Log)]
    assert kinds == [Started, Progress, Chunk, Progress, Chunk, Progress, Chunk, Finished]


def test_what_a_model_prints_is_the_items_log_before_its_end(shared_engine: Engine) -> None:
    job = work("print")
    events = events_of(shared_engine, spec(), job)
    text = "".join(event.text for event in events[:-1] if isinstance(event, Log))
    assert text == f"hello from {job.id}\nstraight to the descriptor: ä\n"


def test_what_a_batch_prints_and_why_it_raised_is_no_neighbours_log(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    submitted = [submit(shared_engine, model, work(do)) for do in ("", "raise", "print", "")]
    logs = ["".join(e.text for e in each.events() if isinstance(e, Log)) for each in submitted]
    assert logs[0] == logs[3] == ""
    assert "index out of range" in logs[1]
    assert logs[2] in ("", f"hello from {submitted[2].id}\nstraight to the descriptor: ä\n")


def test_a_folders_own_code_runs_one_at_a_time_each_with_its_own_prints(
    shared_engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "predictor.py").write_text(
        "import time\n"
        "def predict(text: str) -> str:\n"
        "    print('saw', text)\n"
        "    time.sleep(0.1)\n"
        "    return text\n"
    )
    model = replace(spec("python"), path=str(tmp_path))
    submitted = [submit(shared_engine, model, Work(f"own-code-{n}", {"text": str(n)})) for n in range(3)]
    for number, each in enumerate(submitted):
        events = list(each.events())
        assert events[0] == Started(1)
        assert "".join(e.text for e in events if isinstance(e, Log)) == f"saw {number}\n"


def test_a_bad_input_fails_alone(shared_engine: Engine) -> None:
    model = spec()
    good, bad, broken = (submit(shared_engine, model, work(do)) for do in ("", "bad", "prepare_error"))
    assert isinstance(ending(good), Finished)
    assert error_and_code(ending(bad)) == ("the text is too long", "invalid_input")
    assert error_and_code(ending(broken)) == ("KeyError: 'tokenizer'", "model_failed")


def error_and_code(failed: Failed) -> tuple[str, str]:
    assert set(failed.metrics) == MODEL_SECONDS, "also one that never ran says where its time went"
    return failed.error, failed.code


def test_an_input_that_is_no_json_fails(shared_engine: Engine) -> None:
    failed = ending(submit(shared_engine, spec(), work(number=2**80)))
    assert isinstance(failed, Failed)
    assert failed.code == "invalid_input"


def test_an_input_that_makes_its_batch_raise_fails_alone(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("raise" if i == 5 else "", text=str(i))) for i in range(12)]
    ends = [ending(handle) for handle in handles]
    assert ends.pop(5).error == "index out of range"
    assert [end.output for end in ends] == [str(i) for i in range(12) if i != 5]


def test_a_model_that_always_raises_runs_every_input_alone_once(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("raise")) for _ in range(16)]
    assert {ending(handle).error for handle in handles} == {"index out of range"}
    sizes = ending(submit(shared_engine, model, work("sizes"))).output
    assert sizes == [1, 16, 8, *[1] * 8, 8, *[1] * 8, 1]


def test_a_missing_answer_is_a_failure_with_both_numbers(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("silent" if i == 1 else "")) for i in range(3)]
    ends = [ending(handle) for handle in handles]
    assert isinstance(ends[0], Finished)
    assert ends[1].error == "the model answered 2 of a batch of 3"


def test_strange_answers_hurt_nobody(shared_engine: Engine) -> None:
    model = spec()
    assert isinstance(ending(submit(shared_engine, model, work("stranger"))), Finished)
    assert "JSON" in ending(submit(shared_engine, model, work("no_json"))).error
    assert ending(submit(shared_engine, model, work("exit"))).error == "SystemExit: 3"


def test_a_waiting_item_is_canceled_at_once_and_a_running_one_at_its_next_step(shared_engine: Engine) -> None:
    model = spec(max_batch_size=1)
    running = submit(shared_engine, model, work("steps", steps=500))
    next(running.events())
    waiting = submit(shared_engine, model, work())
    began = time.monotonic()
    waiting.cancel()
    assert isinstance(ending(waiting), Canceled)
    running.cancel()
    running.cancel()
    assert isinstance(ending(running), Canceled)
    assert time.monotonic() - began < 3, "to its end it would run for 5 s"
    waiting.cancel()


def test_an_item_is_canceled_while_its_model_loads(shared_engine: Engine) -> None:
    handle = submit(shared_engine, spec(load_seconds=0.3), work())
    handle.cancel()
    assert isinstance(ending(handle), Canceled)


def test_all_who_wait_share_one_load(shared_engine: Engine, tmp_path: Path) -> None:
    model = spec(count_loads=str(tmp_path / "loads"), load_seconds=0.1)
    handles: list[object] = []
    threads = [
        threading.Thread(target=lambda: handles.append(ending(submit(shared_engine, model, work()))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(event, Finished) for event in handles) == 20
    assert len((tmp_path / "loads").read_text().splitlines()) == 1


def test_a_failed_load_answers_everybody_with_the_reason_and_backs_off(
    shared_engine: Engine, tmp_path: Path
) -> None:
    model = spec(load_error="no weights here", load_seconds=0.1, count_loads=str(tmp_path / "loads"))
    handles = [submit(shared_engine, model, work()) for _ in range(3)]
    for handle in handles:
        failed = ending(handle)
        assert failed.code == "model_unavailable"
        assert "no weights here" in failed.error
    assert "tried again in" in ending(submit(shared_engine, model, work())).error
    with pytest.raises(ModelUnavailable, match="no weights here"):
        shared_engine.load(model)
    assert len((tmp_path / "loads").read_text().splitlines()) == 1
    [described] = [loaded for loaded in shared_engine.models() if loaded.version == model.version]
    assert (described.state, described.reason) == ("failed", "no weights here")
    assert 3 < described.retry_in <= 5


def test_a_failed_load_does_not_say_where_the_files_lie(shared_engine: Engine, tmp_path: Path) -> None:
    model = replace(spec(load_error=f"no tokenizer in {tmp_path}/words"), path=str(tmp_path))
    failed = ending(submit(shared_engine, model, work()))
    assert failed.error == "the model could not be loaded: no tokenizer in the model's folder/words"


def test_an_unknown_runtime_is_a_failed_load(shared_engine: Engine) -> None:
    assert "no runtime 'nonsense'" in ending(submit(shared_engine, spec("nonsense"), work())).error


def test_loaded_models_are_described_and_unloaded(shared_engine: Engine) -> None:
    model = spec(max_batch_size=5)
    described = shared_engine.load(model, pin=True)
    assert (described.state, described.pinned, described.in_use, described.batch_size) == (
        "ready",
        True,
        0,
        5,
    )
    assert described.bytes > 1_000_000
    handle = submit(shared_engine, model, work("steps", steps=20))
    assert shared_engine.limits()[model.version] == 10
    assert [loaded.in_use for loaded in shared_engine.models() if loaded.version == model.version] == [1]
    shared_engine.release(model.version)
    assert psutil.pid_exists(described.pid)
    ending(handle)
    assert "unknown" not in shared_engine.limits()
    eventually(lambda: not psutil.pid_exists(described.pid))
    shared_engine.release(model.version)
    assert model.version not in {loaded.version for loaded in shared_engine.models()}


def test_an_idle_model_is_unloaded_and_comes_back(shared_engine: Engine) -> None:
    model = spec(keep_alive=0.1)
    first = ending(submit(shared_engine, model, work("pid"))).output
    eventually(lambda: not psutil.pid_exists(first))
    assert ending(submit(shared_engine, model, work("pid"))).output != first


def test_a_pinned_version_is_kept_however_idle_and_leaves_when_it_is_released(shared_engine: Engine) -> None:
    kept, plain = spec(pin=True, keep_alive=0), spec(keep_alive=0)
    pids = [ending(submit(shared_engine, model, work("pid"))).output for model in (kept, plain)]
    eventually(lambda: not psutil.pid_exists(pids[1]))
    assert psutil.pid_exists(pids[0])
    shared_engine.release(kept.version)
    eventually(lambda: not psutil.pid_exists(pids[0]))
    assert shared_engine.load(kept).pinned


def test_a_version_in_use_leaves_when_its_last_item_has_ended(shared_engine: Engine) -> None:
    model = spec()
    running = submit(shared_engine, model, work("steps", steps=20))
    shared_engine.release(model.version)
    assert isinstance(ending(running), Finished)
    eventually(lambda: model.version not in shared_engine.states())
    assert isinstance(ending(submit(shared_engine, model, work())), Finished)
    assert shared_engine.states()[model.version] == "ready"
    shared_engine.release("unknown")


def test_what_backs_off_is_loaded_anyway_when_somebody_insists(shared_engine: Engine, tmp_path: Path) -> None:
    model = spec(load_without=str(tmp_path / "weights"))
    with pytest.raises(ModelUnavailable):
        shared_engine.load(model)
    (tmp_path / "weights").touch()
    with pytest.raises(ModelUnavailable):
        shared_engine.load(model)
    assert shared_engine.load(model, anyway=True).state == "ready"


def test_the_least_recently_used_model_is_evicted_and_its_memory_comes_back(start_engine: Start) -> None:
    engine = start_engine(budget_bytes=200_000_000)
    old, used = spec(ballast=60_000_000), spec(ballast=60_000_000)
    pids = [engine.load(model).pid for model in (old, used)]
    busy = submit(engine, old, work("steps", steps=40))
    newest = engine.load(spec(ballast=60_000_000))
    eventually(lambda: not psutil.pid_exists(pids[1]))
    assert psutil.pid_exists(pids[0])
    assert 60_000_000 < newest.bytes < 120_000_000
    assert isinstance(ending(busy), Finished)


def test_models_join_the_running_batch_between_steps(shared_engine: Engine) -> None:
    model = spec("trial-joining")
    shared_engine.load(model)
    first = submit(shared_engine, model, work(steps=20))
    next(first.events())
    late = submit(shared_engine, model, work(steps=2))
    met = ending(late)
    assert set(met.output) == {first.id, late.id}
    assert met.metrics["batch_size"] == 2
    assert ending(first).output == sorted([first.id, late.id])


def test_batches_that_run_out_of_memory_are_halved_and_the_size_remembered(shared_engine: Engine) -> None:
    model = spec(rows=4)
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("sizes")) for _ in range(16)]
    assert all(isinstance(ending(handle), Finished) for handle in handles)
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("sizes")) for _ in range(8)]
    assert {ending(handle).metrics["batch_size"] for handle in handles} <= {1, 2, 4}
    too_big = ending(submit(shared_engine, model, work(length=9)))
    assert too_big.error == "does not fit"


def test_a_model_sees_no_secrets_and_has_its_own_randomness(shared_engine: Engine) -> None:
    os.environ["SECRET_KEY"] = "for the worker only"
    try:
        engine_spec = spec()
        seen = ending(submit(shared_engine, engine_spec, work("environment"))).output
    finally:
        del os.environ["SECRET_KEY"]
    assert "SECRET_KEY" not in seen
    assert seen["OMP_WAIT_POLICY"] == "PASSIVE"
    numbers = [ending(submit(shared_engine, spec(), work("random"))).output for _ in range(2)]
    assert numbers[0] != numbers[1]


def test_two_attempts_of_one_item_may_meet(shared_engine: Engine) -> None:
    model = spec(max_batch_size=1)
    jobs = [Work("same", {"do": "steps", "steps": 5, "text": str(i)}) for i in range(2)]
    handles = [submit(shared_engine, model, job) for job in jobs]
    assert [ending(handle).output for handle in handles] == ["0", "1"]


def test_a_model_that_takes_too_long_to_load_is_killed(start_engine: Start) -> None:
    engine = start_engine(timeouts=Timeouts(setup=0.3))
    failed = ending(submit(engine, spec(load_seconds=30), work()))
    assert "longer than 0.3 s" in failed.error


def test_a_stopping_engine_lets_items_end_within_the_grace_and_hands_back_the_rest(
    start_engine: Start,
) -> None:
    engine = start_engine()
    quick, slow = (
        submit(engine, spec(), work("steps", steps=5)),
        submit(engine, spec(), work("steps", steps=1000)),
    )
    for handle in (quick, slow):
        next(handle.events())
    engine.stop(0.3)
    assert isinstance(ending(quick), Finished)
    assert "stopping" in ending(slow).error
    assert "stopping" in ending(submit(engine, spec(), work())).error


def test_whoever_waits_for_a_load_learns_that_the_engine_stops(start_engine: Start) -> None:
    engine, model, errors = start_engine(), spec(load_seconds=30), []

    def load() -> None:
        try:
            engine.load(model)
        except ModelUnavailable as error:
            errors.append(error.detail)

    waiting = threading.Thread(target=load)
    waiting.start()
    eventually(lambda: engine.states().get(model.version) == "loading")
    engine.stop(0)
    waiting.join(5)
    assert errors == ["the worker is stopping"]


def test_a_memory_limit_holds_for_each_process(start_engine: Start) -> None:
    engine = start_engine(process_bytes=300_000_000)
    failed = ending(submit(engine, spec(ballast=600_000_000), work()))
    assert failed.code == "model_unavailable"
    assert isinstance(ending(submit(engine, spec(), work())), Finished)


def test_torch_uses_the_threads_it_was_given(shared_engine: Engine) -> None:
    model = spec()
    threads = ending(
        submit(shared_engine, ModelSpec(**{**vars_of(model), "threads": 1}), work("threads"))
    ).output
    assert threads[0] >= 1


def vars_of(model: ModelSpec) -> dict[str, object]:
    return {name: getattr(model, name) for name in model.__slots__}


def test_traffic_on_one_model_cannot_keep_another_one_out(start_engine: Start) -> None:
    engine = start_engine(budget_bytes=110_000_000)
    busy, other = spec(ballast=60_000_000, max_batch_size=1), spec(ballast=60_000_000)
    pid = engine.load(busy).pid
    eventually(lambda: engine.models()[0].bytes > 60_000_000)
    stopped, ends = threading.Event(), []

    def traffic() -> None:
        while not stopped.is_set():
            ends.append(ending(submit(engine, busy, work("steps", steps=10))))

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert isinstance(ending(submit(engine, other, work())), Finished)
    stopped.set()
    for thread in threads:
        thread.join()
    assert not psutil.pid_exists(pid)
    assert all(isinstance(end, Finished) for end in ends)


def test_a_model_that_made_way_for_one_that_was_refused_goes_on(
    start_engine: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "HOLD_SECONDS", 0.1)
    monkeypatch.setattr(model_cache, "WAIT_SECONDS", 0.5)
    engine = start_engine(budget_bytes=110_000_000, free=lambda: 0)
    busy = spec(ballast=60_000_000)
    pid = engine.load(busy).pid
    running = submit(engine, busy, work("steps", steps=200))
    next(running.events())
    assert "there is no room" in ending(submit(engine, spec(), work())).error
    assert ending(submit(engine, busy, work("pid"))).output == pid
    assert isinstance(ending(running), Finished)


def test_a_model_that_can_never_fit_beside_pinned_ones_goes_over_the_budget(start_engine: Start) -> None:
    engine = start_engine(budget_bytes=50_000_000)
    engine.load(spec(ballast=60_000_000), pin=True)
    assert isinstance(ending(submit(engine, spec(), work())), Finished)
    assert engine.budget_bytes == 50_000_000
