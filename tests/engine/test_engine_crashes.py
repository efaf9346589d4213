"""Processes that die, hang or do not listen: every item still gets one right ending. Real kills."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from engine_support import QUICK, RUNTIMES, Start, ending, events_of, spec, submit, work
from waiting import eventually

from app.domain.work import Canceled, Chunk, Crashed, Failed, Finished, Log, ModelSpec, Work
from app.engine import deadlines, retry_policy
from app.engine.engine import Engine
from app.engine.loaded_model import LoadedModel
from app.engine.model_link import describe_exit

pytestmark = pytest.mark.quiet  # they hold the engine to deadlines of a second

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("do", ["crash", "segfault"])
def test_the_poison_input_crashes_alone_and_its_neighbours_succeed(shared_engine: Engine, do: str) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work(do if i == 9 else "", text=str(i))) for i in range(32)]
    poison = list(handles.pop(9).events())
    ends = [ending(handle) for handle in handles]
    assert isinstance(poison[-1], Crashed)
    assert ("SIGKILL" if do == "crash" else "SIGSEGV") in poison[-1].error
    words = "".join(event.text for event in poison if isinstance(event, Log)) + poison[-1].error
    assert ("about to die" if do == "crash" else "Segmentation fault") in words
    assert [end.output for end in ends] == [str(i) for i in range(32) if i != 9]
    assert isinstance(ending(blocker), Finished)


def test_a_process_killed_from_outside_costs_nobody_but_a_lone_item_anything(shared_engine: Engine) -> None:
    model = spec(max_batch_size=1)
    pid = shared_engine.load(model).pid
    running = submit(shared_engine, model, work("steps", steps=30, text="ran again"))
    next(running.events())
    waiting = [submit(shared_engine, model, work(text=str(i))) for i in range(3)]
    os.kill(pid, signal.SIGKILL)
    assert [ending(handle).output for handle in (running, *waiting)] == ["ran again", "0", "1", "2"]
    [pid] = [loaded.pid for loaded in shared_engine.models() if loaded.version == model.version]
    alone = submit(shared_engine, model, work("steps", steps=500))
    next(alone.events())
    os.kill(pid, signal.SIGKILL)
    assert isinstance(ending(alone), Crashed)


def test_an_item_that_crashed_runs_by_itself_the_next_time(shared_engine: Engine) -> None:
    model, poison = spec(), work("crash")
    assert isinstance(ending(submit(shared_engine, model, poison)), Crashed)
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    good = [submit(shared_engine, model, work("sizes")) for _ in range(3)]
    again = submit(shared_engine, model, poison)
    assert [ending(handle).output for handle in good] == [[1, 3]] * 3
    assert isinstance(ending(again), Crashed)


def test_a_preparation_that_kills_is_found_too(shared_engine: Engine) -> None:
    model = spec()
    shared_engine.load(model)
    handles = [
        submit(shared_engine, model, work("prepare_crash" if i == 3 else "", text=str(i))) for i in range(6)
    ]
    ends = [ending(handle) for handle in handles]
    assert isinstance(ends.pop(3), Crashed)
    assert all(isinstance(end, Finished) for end in ends)


def test_a_preparation_that_hangs_is_a_death(start_engine: Start) -> None:
    engine = start_engine()
    assert isinstance(ending(submit(engine, spec(), work("prepare_hang"))), Crashed)


def test_a_frozen_process_is_said_to_be_unresponsive_and_killed_in_time(
    start_engine: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "UNRESPONSIVE_SECONDS", 2.0)
    engine, model = start_engine(timeouts=replace(QUICK, silence=4.0)), spec(max_batch_size=1)
    pid = engine.load(model).pid
    running = submit(engine, model, work("steps", steps=60, text="ran again"))
    waiting = submit(engine, model, work("pid"))
    next(running.events())
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: engine.states()[model.version] == "unresponsive")
    assert "no sign of life for" in (snapshot := described(engine, model)).reason
    assert 0 < snapshot.retry_in < 2.0
    assert ending(running).output == "ran again"
    assert ending(waiting).output != pid
    eventually(lambda: not psutil.pid_exists(pid))
    assert engine.states()[model.version] == "ready"


def test_a_frozen_process_with_one_item_says_why_it_was_killed(start_engine: Start) -> None:
    engine, model = start_engine(timeouts=replace(QUICK, silence=2.5)), spec()
    stuck = submit(engine, model, work("hang_in_c"))
    crashed = ending(stuck)
    assert isinstance(crashed, Crashed)
    assert "its process was killed: it gave no sign of life for" in crashed.error


def test_a_process_that_prepares_for_long_or_is_idle_is_not_taken_for_frozen(start_engine: Start) -> None:
    engine, model = start_engine(timeouts=replace(QUICK, silence=2.5, stall=20.0)), spec()
    pid = engine.load(model).pid
    slow = submit(engine, model, work("pid", prepare_seconds=4.0))
    assert ending(slow).output == pid


def test_a_broken_device_context_ends_the_process_not_the_model(shared_engine: Engine) -> None:
    model = spec()
    crashed = ending(submit(shared_engine, model, work("sticky")))
    assert isinstance(crashed, Crashed)
    assert "device-side assert" in crashed.error
    assert isinstance(ending(submit(shared_engine, model, work())), Finished)


@pytest.mark.parametrize("do", ["hang", "hang_in_c"])
def test_an_item_that_runs_too_long_is_killed_and_its_neighbours_run_again(
    shared_engine: Engine, do: str
) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [
        submit(shared_engine, model, work(do if i == 2 else "", timeout=0.3 if i == 2 else 9))
        for i in range(4)
    ]
    ends = [ending(handle) for handle in handles]
    late = ends.pop(2)
    assert late.code == "run_timeout"
    assert "0.3 s" in late.error
    assert all(isinstance(end, Finished) for end in ends)


def test_a_short_timeout_of_one_caller_restarts_no_neighbour(shared_engine: Engine) -> None:
    model = spec("echo", joins=True)
    pid = shared_engine.load(model).pid
    streams = [
        submit(shared_engine, model, Work(f"stream-{i}-{pid}", {"text": "x", "seconds": 2.5, "chunks": 50}))
        for i in range(7)
    ]
    for stream in streams:
        next(stream.events())
    for number in range(5):
        hasty = Work(f"hasty-{number}-{pid}", {"text": "x", "seconds": 60, "chunks": 600}, timeout=0.2)
        streams.append(submit(shared_engine, model, hasty))
    ends = [ending(stream) for stream in streams]
    assert [type(end) for end in ends] == [Finished] * 7 + [Failed] * 5
    assert {(end.code, end.error) for end in ends[7:]} == {
        ("run_timeout", "it ran longer than its limit of 0.2 s")
    }
    assert all(end.metrics["run"] >= 0.2 for end in ends[7:])
    assert described(shared_engine, model).pid == pid


def test_of_a_batch_that_hangs_together_only_the_one_at_fault_times_out(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    handles = [submit(shared_engine, model, work("hang" if i == 2 else "", timeout=1.0)) for i in range(6)]
    ends = [ending(handle) for handle in handles]
    assert ends.pop(2).code == "run_timeout"
    assert all(isinstance(end, Finished) for end in ends)


@pytest.mark.parametrize("do", ["hang", "hang_in_c"])
def test_stuck_code_is_killed_when_it_is_canceled(shared_engine: Engine, do: str) -> None:
    model = spec(max_batch_size=1)
    stuck = submit(shared_engine, model, work(do))
    next(stuck.events())
    waiting = submit(shared_engine, model, work())
    stuck.cancel()
    assert isinstance(ending(stuck), Canceled)
    assert isinstance(ending(waiting), Finished)


def test_a_canceled_item_among_busy_neighbours_is_answered_and_they_go_on(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    neighbour = submit(shared_engine, model, work(seconds=2, text="here"))
    unresponsive = submit(shared_engine, model, work(seconds=2))
    next(unresponsive.events())
    pid = [loaded.pid for loaded in shared_engine.models() if loaded.version == model.version]
    unresponsive.cancel()
    began = time.monotonic()
    assert isinstance(ending(unresponsive), Canceled)
    assert time.monotonic() - began < 1.8
    assert ending(neighbour).output == "here"
    assert [loaded.pid for loaded in shared_engine.models() if loaded.version == model.version] == pid


def test_a_stream_that_is_run_again_repeats_no_chunk(shared_engine: Engine) -> None:
    model = spec()
    blocker = submit(shared_engine, model, work(seconds=0.2))
    next(blocker.events())
    streaming = submit(shared_engine, model, work("chunks_then_wait", wait=0.6))
    hanging = submit(shared_engine, model, work("steps", steps=1000, timeout=0.3))
    events = list(streaming.events())
    assert [event.data for event in events if isinstance(event, Chunk)] == ["first", "second"]
    assert isinstance(events[-1], Finished)
    assert ending(hanging).code == "run_timeout"


def test_a_process_killed_while_it_loads_is_tried_once_more(shared_engine: Engine) -> None:
    model = spec(load_seconds=1.0)
    handle = submit(shared_engine, model, work())

    def pid() -> int:
        return next(
            (
                loaded.pid
                for loaded in shared_engine.models()
                if loaded.version == model.version and loaded.state == "loading"
            ),
            0,
        )

    eventually(lambda: pid() > 0)
    os.kill(pid(), signal.SIGKILL)
    assert isinstance(ending(handle), Finished)


def test_a_crash_at_load_is_a_failed_load(shared_engine: Engine) -> None:
    failed = ending(submit(shared_engine, spec(load_crash=True), work()))
    assert failed.code == "model_unavailable"
    assert "while loading, its process was ended by SIGSEGV" in failed.error


def test_five_deaths_in_a_minute_close_the_version_for_a_while(shared_engine: Engine) -> None:
    model = spec()
    for _ in range(4):
        assert isinstance(ending(submit(shared_engine, model, work("crash"))), Crashed)
    assert isinstance(ending(submit(shared_engine, model, work("segfault"))), Crashed)
    closed = ending(submit(shared_engine, model, work()))
    assert closed.code == "model_unavailable"
    assert "died 5 times" in closed.error
    assert "SIGSEGV" in closed.error
    assert "last output" not in closed.error, "that is for whose input it was"
    [described] = [loaded for loaded in shared_engine.models() if loaded.version == model.version]
    assert described.state == "unhealthy"


def test_an_unhealthy_version_is_tried_again_by_itself_and_a_good_load_heals_it(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policy, "BACKOFF_SECONDS", 0.3)
    model = spec()
    for _ in range(5):
        ending(submit(shared_engine, model, work("crash")))
    assert described(shared_engine, model).state == "unhealthy"
    eventually(lambda: described(shared_engine, model).state == "ready")
    assert described(shared_engine, model).reason == ""
    assert isinstance(ending(submit(shared_engine, model, work())), Finished)


def test_a_model_that_cannot_be_loaded_becomes_unhealthy_and_well_when_it_can(
    shared_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(retry_policy, "BACKOFF_SECONDS", 0.1)
    model = spec(load_without=str(tmp_path / "weights"))
    assert ending(submit(shared_engine, model, work())).code == "model_unavailable"
    assert "weights" in eventually(
        lambda: loaded.reason if (loaded := described(shared_engine, model)).state == "unhealthy" else ""
    )
    (tmp_path / "weights").touch()
    eventually(lambda: described(shared_engine, model).state == "ready")


def described(engine: Engine, model: ModelSpec) -> LoadedModel:
    [snapshot] = [loaded for loaded in engine.models() if loaded.version == model.version]
    return snapshot


def test_a_dead_fork_server_is_replaced(start_engine: Start) -> None:
    engine = start_engine()
    model = spec(max_batch_size=1)
    first = engine.load(model).pid
    running = submit(engine, model, work("steps", steps=500))
    next(running.events())
    waiting = submit(engine, model, work("pid"))
    os.kill(engine.fork_server_pid, signal.SIGKILL)
    eventually(lambda: not alive(first))  # or it would stop at the cancel and run the other before it dies
    running.cancel()
    assert isinstance(ending(running), Canceled)
    assert ending(waiting).output != first
    assert not alive(first)


PARENT = f"""
import queue, time
from app.domain.work import ModelSpec, Work
from app.engine.engine import Engine, EngineOptions
engine = Engine(EngineOptions(runtime_folders=({str(RUNTIMES)!r},)))
engine.start()
engine.load(ModelSpec("a", "a", "trial"))
for version, do in (("b", "hang_in_c"), ("c", "steps")):
    events, item = queue.Queue(), Work(version, {{"do": do, "steps": 100000}})
    engine.submit_all(ModelSpec(version, version, "trial"), [(item, events.put)])
    events.get()
pids = [model.pid for model in engine.models()]
print(engine.fork_server_pid, *pids, flush=True)
time.sleep(60)
"""


def test_a_killed_worker_leaves_no_orphans_for_a_second() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 4
        parent.kill()
        eventually(lambda: not any(alive(pid) for pid in pids), seconds=1.0)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_exit_statuses_are_sentences() -> None:
    assert "SIGSEGV" in describe_exit(-11)
    assert "signal 200" in describe_exit(-200)
    assert "status 7" in describe_exit(7)
    assert "fork server" in describe_exit(None)


def test_a_terminals_ctrl_c_does_not_reach_the_models(shared_engine: Engine) -> None:
    model = spec()
    pid = shared_engine.load(model).pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert events_of(shared_engine, model, work("pid"))[-1].output == pid  # type: ignore[union-attr]
    assert not isinstance(events_of(shared_engine, model, work()), Failed)
