"""Child programs of one terminal: start them, restart what crashes, stop them stage by stage.

One loop in the main thread does everything: the kernel ties a child's life to the thread that forked it, and
one thread needs no locks. Knows programs and time. Does not know which programs there are or what they do.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from app.local.errors import CannotSpawn, StartFailed, StillBusy
from app.local.log_file import cut_if_due, log_path, tail
from app.local.on_demand import OnDemand
from app.local.program_output import ProgramOutput
from app.local.programs import Child, Program, spawn
from app.local.stop_signals import StopSignals
from app.local.terminal import Terminal

TURN_S = 0.05  # how late a ready check or a restart may be; ended children and output wake the loop at once
IDLE_S = 5.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
STEADY_S = 30.0  # a program that ran this long has recovered: its next crash is a first one again
START_TRIES = 3  # a program that ends this often before it was ready once will not get ready
LOG_CHECK_S = 10.0


def restart_delay_s(crashes: int) -> float:
    """Seconds to wait before the restart after crash number `crashes` (1 is the first)."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(crashes - 1, 10))


class _Entry:
    """What the supervisor knows of one program across its restarts."""

    def __init__(self, program: Program, output: ProgramOutput) -> None:
        self.program = program
        self.output = output
        self.child: Child | None = None
        self.crashes = 0
        self.restart_at: float | None = None
        self.was_ready = False
        self.killed_at: float | None = None  # it is needed no more, and gets no longer to end

    def is_alive(self) -> bool:
        return self.child is not None and self.child.is_alive()

    def dismiss(self) -> None:
        """It is needed no more: asked to stop, with its grace."""
        self.killed_at, self.restart_at = time.monotonic() + self.program.grace_s, None
        if self.child is not None:
            self.child.ask_to_stop()

    def plan_restart(self, ran_s: float) -> float:
        """In how many seconds, after it has run so long."""
        self.crashes = 1 if ran_s >= STEADY_S else self.crashes + 1
        delay = restart_delay_s(self.crashes)
        self.restart_at = time.monotonic() + delay
        return delay

    def is_ready(self) -> bool:
        self.was_ready = self.was_ready or (self.child is not None and self.child.is_ready())
        return self.was_ready


class Supervisor:
    """Call everything from the main thread. Every wait raises StopRequested when a stop signal came."""

    def __init__(self, data_dir: Path, terminal: Terminal, signals: StopSignals) -> None:
        self._data_dir = data_dir
        self._terminal = terminal
        self._signals = signals
        self._entries: dict[str, _Entry] = {}
        self._on_demand: list[OnDemand] = []
        self._stopped_stage = -1  # programs of this stage and below are not started again
        self._next_log_check = 0.0
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.wakeup, selectors.EVENT_READ, signals.clear_wakeup)

    def start(self, program: Program) -> None:
        """Start `program` and keep it running."""
        self._launch(self._entry_for(program))

    def start_on_demand(self, watched: OnDemand) -> None:
        """Keep its program running while it is needed."""
        watched.on_change = self._signals.wake
        self._on_demand.append(watched.start())

    def adopt(self, child: Child) -> None:
        """Keep a program running that was started, and became ready, elsewhere."""
        entry = self._entry_for(child.program)
        entry.child = child
        entry.was_ready = True

    def run_once(self, program: Program) -> None:
        """Run a program to its end. Raises StartFailed with the end of its log unless the exit code is 0."""
        entry = self._entry_for(program)
        try:
            self._launch(entry)
            while entry.is_alive():
                self._turn()
            entry.output.finish()
        finally:
            self._forget(entry)
        assert entry.child is not None
        if entry.child.process.returncode != 0:
            raise StartFailed(f"{program.name} failed ({entry.child.describe_end()}):\n{self._tail(program)}")

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until these programs are ready. Raises StartFailed after `timeout_s` or repeated crashes."""
        deadline = time.monotonic() + timeout_s
        for entry in [self._entries[name] for name in names]:
            while not entry.is_ready():
                if entry.crashes >= START_TRIES:
                    raise StartFailed(f"{entry.program.name} does not start:\n{self._tail(entry.program)}")
                if time.monotonic() > deadline:
                    raise StartFailed(
                        f"{entry.program.name} is not ready after {timeout_s:.0f}"
                        f" s:\n{self._tail(entry.program)}"
                    )
                self._turn()

    def run_until(self, done: Callable[[], bool]) -> None:
        """Supervise until `done()`."""
        while not done():
            self._turn()

    def run(self) -> None:
        """Supervise until StopRequested. Sleeps until something happens."""
        while True:
            waiting = any(entry.restart_at or entry.killed_at for entry in self._entries.values())
            self._turn(TURN_S if waiting else IDLE_S)

    def stop(self) -> None:
        """Stop everything, stage by stage, each program with its grace; a second signal kills what is
        left."""
        while self._on_demand:
            self._on_demand.pop().stop()
        for stage in sorted({entry.program.stage for entry in self._entries.values()}):
            self._stopped_stage = stage
            self._stop_stage([entry for entry in self._entries.values() if entry.program.stage == stage])
        for entry in list(self._entries.values()):
            self._forget(entry)

    def _stop_stage(self, entries: list[_Entry]) -> None:
        asked_to_stop_at = time.monotonic()
        killed: set[str] = set()
        for entry in entries:
            entry.restart_at = None
            if entry.child is not None:
                entry.child.ask_to_stop()
        while alive := [entry for entry in entries if entry.is_alive()]:
            for entry in alive:
                late = time.monotonic() - asked_to_stop_at > entry.program.grace_s
                if (late or self._signals.asked_twice()) and entry.program.name not in killed:
                    killed.add(entry.program.name)
                    self._kill(entry, late)
            self._poll(TURN_S)
        for entry in entries:
            entry.output.finish()

    def _kill(self, entry: _Entry, late: bool) -> None:
        if late:
            self._terminal.warn(
                f"{entry.program.name} did not stop in {entry.program.grace_s:.0f} s: killed."
            )
        if entry.child is not None:
            entry.child.kill()

    def _turn(self, timeout_s: float = TURN_S) -> None:
        self._poll(timeout_s)
        self._signals.raise_if_asked()
        for watched in self._on_demand:
            self._follow_demand(watched)

    def _follow_demand(self, watched: OnDemand) -> None:
        entry = self._entries.get(watched.program.name)
        if entry is None:
            if watched.is_needed:
                self.start(watched.program)
        elif not watched.is_needed and entry.killed_at is None:
            entry.dismiss()

    def _poll(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data()
        for entry in list(self._entries.values()):
            self._keep_running(entry)
        if self._signals.take_level_switch():
            for entry in self._entries.values():
                if entry.child is not None:
                    entry.child.switch_log_level()
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK_S
            for entry in self._entries.values():
                cut_if_due(log_path(self._data_dir, entry.program.name))

    def _keep_running(self, entry: _Entry) -> None:
        if entry.killed_at is not None:
            self._end(entry, is_late=time.monotonic() > entry.killed_at)
            return
        if entry.program.stage <= self._stopped_stage or entry.program.once:
            return
        if entry.restart_at is not None:
            if time.monotonic() >= entry.restart_at:
                self._launch(entry)
        elif not entry.is_alive():
            self._plan_restart(entry)

    def _end(self, entry: _Entry, *, is_late: bool) -> None:
        """One that is needed no more; needed again, it is started anew once it has ended."""
        if not entry.is_alive():
            self._forget(entry)
        elif is_late:
            self._kill(entry, late=True)

    def _plan_restart(self, entry: _Entry) -> None:
        assert entry.child is not None
        entry.output.finish()
        delay = entry.plan_restart(time.monotonic() - entry.child.started_at)
        log = log_path(self._data_dir, entry.program.name)
        self._terminal.warn(
            f"{entry.program.name} ended ({entry.child.describe_end()}), starting it again in {delay:g} s;"
            f" log: {log}"
        )

    def _launch(self, entry: _Entry) -> None:
        entry.restart_at = None
        try:
            if entry.program.quiet:
                entry.child = spawn(entry.program, entry.output.log.file)
            else:
                entry.child = spawn(entry.program)
        except StillBusy:  # its last processes are ending; that is no crash
            entry.restart_at = time.monotonic() + TURN_S
            return
        except CannotSpawn as error:
            if entry.child is None:
                raise
            entry.crashes += 1
            entry.restart_at = time.monotonic() + restart_delay_s(entry.crashes)
            self._terminal.warn(f"{error}; trying again.")
            return
        entry.output.attach(entry.child.process.stdout)

    def _entry_for(self, program: Program) -> _Entry:
        path = log_path(self._data_dir, program.name)
        cut_if_due(path)
        output = ProgramOutput(program.name, path.open("ab", buffering=0), self._terminal, self._selector)
        entry = self._entries[program.name] = _Entry(program, output)
        if not program.quiet:
            self._terminal.register(program.name)
        return entry

    def _forget(self, entry: _Entry) -> None:
        """Drop a program; kill it if a stop signal came while it ran to its end."""
        if entry.child is not None:
            if entry.is_alive():
                entry.child.stop()
            entry.output.finish()
        entry.output.close()
        self._entries.pop(entry.program.name, None)

    def _tail(self, program: Program) -> str:
        return tail(log_path(self._data_dir, program.name))
