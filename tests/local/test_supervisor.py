"""The supervisor shows, restarts and stops real child processes."""

import io
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.local.errors import StartFailed
from app.local.log_file import LogFile, log_path
from app.local.on_demand import OnDemand
from app.local.programs import Program
from app.local.stop_signals import StopRequested, StopSignals
from app.local.supervisor import Supervisor, restart_delay_s
from app.local.terminal import Terminal, wants_colour

NOTE = "import os, sys, time, signal\nfile = open(os.environ['EVENTS'], 'a', buffering=1)\n"
DRAINS = (
    NOTE + "signal.signal(signal.SIGTERM, lambda *a: (time.sleep({drain}), file.write('{name} drained\\n'),"
    " sys.exit(0)))\n"
)
FORKS = """
import os, time
if os.fork():
    time.sleep(0.2)
    os._exit(1)
print("pid", os.getpid(), flush=True)
time.sleep(60)
"""
WAITS = "print('ready to work', flush=True)\ntime.sleep(60)\n"


class Desk:
    """A supervisor with a terminal that can be read."""

    def __init__(self, data_dir: Path, signals: StopSignals) -> None:
        self.data_dir = data_dir
        self.shown = io.StringIO()
        self.signals = signals
        self.supervisor = Supervisor(data_dir, Terminal(self.shown), signals)

    def program(
        self, name: str, code: str, stage: int = 0, grace_s: float = 5.0, once: bool = False
    ) -> Program:
        env = {**os.environ, "EVENTS": str(self.data_dir / "events")}
        argv = (sys.executable, "-c", code)
        return Program(name, argv, env, stage=stage, grace_s=grace_s, once=once, quiet=once)

    def start(self, name: str, code: str, stage: int = 0, grace_s: float = 5.0) -> None:
        self.supervisor.start(self.program(name, code, stage, grace_s))

    def until_shown(self, text: str, times: int = 1) -> None:
        self.supervisor.run_until(lambda: self.shown.getvalue().count(text) >= times)

    def until_drained(self, times: int) -> None:
        events = self.data_dir / "events"
        self.supervisor.run_until(lambda: events.exists() and events.read_text().count("drained") >= times)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with StopSignals() as signals:
        desk = Desk(tmp_path, signals)
        yield desk
        desk.supervisor.stop()


def test_each_line_has_its_program_in_front_and_is_logged(desk: Desk) -> None:
    desk.start("api", "print('one\\ntwo', flush=True)\n" + NOTE + WAITS)
    desk.start(
        "worker-cpu",
        "import sys\nsys.stderr.write('\\xe9 no newline'); sys.stderr.flush()\n" + NOTE + "sys.exit(0)",
    )
    desk.until_shown("no newline")
    desk.until_shown("ready to work")
    lines = desk.shown.getvalue().splitlines()
    assert "api        | one" in lines
    assert "api        | two" in lines
    assert "worker-cpu | é no newline" in lines
    assert "one\ntwo\n" in log_path(desk.data_dir, "api").read_text()


def test_a_full_disk_stops_the_logs_and_nothing_else(desk: Desk) -> None:
    folder = log_path(desk.data_dir, "api").parent
    for name in ("api", "worker"):
        (folder / f"{name}.log").symlink_to("/dev/full")  # takes no byte
    desk.start("api", "print('one', flush=True)\n" + NOTE + WAITS)
    desk.start("worker", "print('two', flush=True)\n" + NOTE + "sys.exit(3)")
    desk.until_shown("ready to work")
    desk.until_shown("worker ended (exit code 3)", 2)
    shown = desk.shown.getvalue()
    assert shown.count("api: Its log cannot be written (No space left on device)") == 1
    assert shown.count("worker | two") >= 2


def test_a_log_goes_on_when_there_is_space_again_and_says_what_it_missed(tmp_path: Path) -> None:
    said: list[str] = []
    with (tmp_path / "log").open("wb", buffering=0) as file, open("/dev/full", "wb", buffering=0) as full:
        log, room = LogFile(full, said.append), file
        log.write(b"lost")
        log.write(b"too")
        os.dup2(room.fileno(), full.fileno())
        log.write(b"kept\n")
    assert (tmp_path / "log").read_bytes() == b"\n[7 bytes were not logged: there was no space]\nkept\n"
    assert [sentence.partition("(")[0].strip() for sentence in said] == [
        "Its log cannot be written",
        "Its log is written again.",
    ]


def test_a_program_starts_though_its_lock_cannot_hold_its_pid(desk: Desk) -> None:
    (desk.data_dir / "api.lock").symlink_to("/dev/full")
    program = desk.program("api", WAITS)
    desk.supervisor.start(replace(program, lock=desk.data_dir / "api.lock"))
    desk.until_shown("ready to work")


def test_a_crashed_program_is_started_again_with_one_line_about_it(desk: Desk) -> None:
    desk.start("worker", "import os\nprint('pid', os.getpid(), flush=True)\n" + NOTE + WAITS)
    desk.until_shown("| pid")
    os.kill(int(desk.shown.getvalue().split("pid ")[1].split()[0]), signal.SIGKILL)
    desk.until_shown("| pid", times=2)
    (line,) = [line for line in desk.shown.getvalue().splitlines() if "ended" in line]
    assert line.startswith("worker ended (signal SIGKILL), starting it again in 0.5 s; log: ")


def test_what_a_crashed_program_forked_ends_with_it(desk: Desk) -> None:
    desk.start("worker", FORKS)
    desk.until_shown("| pid")
    orphan = int(desk.shown.getvalue().split("pid ")[1].split()[0])
    desk.until_shown("ended (exit code 1)")
    stat = Path(f"/proc/{orphan}/stat")
    desk.supervisor.run_until(lambda: not stat.exists() or " Z " in stat.read_text())


def test_restarts_come_slower_and_slower() -> None:
    assert [restart_delay_s(crashes) for crashes in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]


def test_programs_stop_stage_by_stage(desk: Desk) -> None:
    desk.start("postgres", DRAINS.format(name="postgres", drain=0) + WAITS, stage=2)
    desk.start("valkey", DRAINS.format(name="valkey", drain=0) + WAITS, stage=1)
    desk.start("worker", DRAINS.format(name="worker", drain=0.3) + WAITS)
    desk.until_shown("ready to work", times=3)
    desk.supervisor.stop()
    assert (desk.data_dir / "events").read_text().split("\n")[:3] == [
        "worker drained",
        "valkey drained",
        "postgres drained",
    ]


def test_a_program_that_does_not_drain_in_its_grace_is_killed(desk: Desk) -> None:
    desk.start("stuck", DRAINS.format(name="stuck", drain=60) + WAITS, grace_s=0.3)
    desk.until_shown("ready to work")
    desk.supervisor.stop()
    assert "stuck did not stop in 0 s: killed." in desk.shown.getvalue()


def test_a_second_signal_kills_at_once(desk: Desk) -> None:
    desk.start("stuck", DRAINS.format(name="stuck", drain=60) + WAITS, grace_s=60)
    desk.until_shown("ready to work")
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(StopRequested):
        desk.supervisor.run()
    os.kill(os.getpid(), signal.SIGINT)
    desk.supervisor.stop()


def test_a_failed_step_shows_the_end_of_its_log(desk: Desk) -> None:
    with pytest.raises(StartFailed, match=r"(?s)migrate failed \(exit code 1\):.*no such table"):
        desk.supervisor.run_once(desk.program("migrate", "import sys; sys.exit('no such table')", once=True))


def test_a_program_that_never_starts_is_given_up(desk: Desk) -> None:
    desk.supervisor.start(
        Program("api", (sys.executable, "-c", "exit('bad port')"), dict(os.environ), ready=lambda pid: False)
    )
    with pytest.raises(StartFailed, match=r"(?s)api does not start:.*bad port"):
        desk.supervisor.wait_ready(["api"], 30)


def test_colour_is_for_terminals_that_want_it() -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert wants_colour(Tty(), {})
    assert not wants_colour(Tty(), {"NO_COLOR": "1"})
    assert not wants_colour(io.StringIO(), {})
    shown = Tty()
    Terminal(shown, colour=True).program_line("api", "hello")
    assert shown.getvalue() == "\x1b[36mapi |\x1b[0m hello\n"


def test_a_program_that_knows_the_signal_gets_it_to_switch_its_log_level(desk: Desk) -> None:
    knows = "signal.signal(signal.SIGUSR2, lambda *_: print('switched', flush=True))\n"
    other = desk.program("postgres", NOTE + WAITS)  # the signal would end it
    desk.supervisor.start(other)
    slow = "import time\nprint('comes', flush=True)\ntime.sleep(0.3)\n"  # nor does it end one that starts yet
    desk.supervisor.start(replace(desk.program("api", slow + NOTE + knows + WAITS), switches_level=True))
    desk.until_shown("comes")
    os.kill(os.getpid(), signal.SIGUSR2)
    desk.until_shown("ready to work", 2)
    assert "switched" not in desk.shown.getvalue()
    os.kill(os.getpid(), signal.SIGUSR2)
    desk.until_shown("switched")
    assert "ended" not in desk.shown.getvalue()


def test_a_program_runs_while_it_is_needed_and_again(desk: Desk) -> None:
    code = DRAINS.format(drain=0, name="gateway") + WAITS
    watched = OnDemand(desk.program("gateway", code), lambda given_up, _: None)
    desk.supervisor.start_on_demand(watched)
    desk.supervisor.run_until(lambda: True)
    assert "gateway" not in desk.shown.getvalue()
    for times in (1, 2):
        watched.is_needed = True
        desk.until_shown("ready to work", times)
        watched.is_needed = False
        desk.until_drained(times)
    desk.start("api", WAITS)
    desk.until_shown("ready to work", 3)
    assert "starting it again" not in desk.shown.getvalue()  # it has not crashed


def test_a_change_of_what_is_needed_wakes_the_sleeping_supervisor(desk: Desk) -> None:
    needed = threading.Event()
    desk.supervisor.start_on_demand(
        OnDemand(
            desk.program("gateway", "print('x', flush=True)"),
            lambda _, set_needed: set_needed(needed.wait(5)),
        )
    )
    desk.signals.clear_wakeup()
    needed.set()
    readable, _, _ = select.select([desk.signals.wakeup], [], [], 5)
    assert readable
