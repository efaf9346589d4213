"""Child programs of one terminal: start, show and log their output, restart what crashes, stop all in order.

One loop in the main thread does everything: the kernel ties a child's life to the thread that forked it, and
one thread needs no locks. Knows programs, output and time. Does not know which programs there are or what
they do.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from app.local.errors import CannotSpawn, StartFailed, StillBusy
from app.local.log_file import cut_if_large, log_path, tail
from app.local.programs import Child, Program, spawn
from app.local.stop_signals import StopSignals
from app.local.terminal import Terminal

TURN_S = 0.05  # how late a ready check or a restart may be; ended children and output wake the loop at once
IDLE_S = 5.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
STEADY_S = 30.0  # a program that ran this long has recovered: its next crash is a first one again
START_TRIES = 3  # a program that ends this often before it was ready once will not get ready
LOG_CHECK_S = 10.0
READ_BYTES = 64 * 1024
LONGEST_LINE = 16 * 1024  # a program that never ends its line is shown in pieces of this size


def restart_delay_s(crashes: int) -> float:
    """Seconds to wait before the restart after crash number `crashes` (1 is the first)."""
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(crashes - 1, 10))


class _Place:
    """What the supervisor remembers of one program across its restarts."""

    def __init__(self, program: Program, log: IO[bytes]) -> None:
        self.program = program
        self.log = log
        self.child: Child | None = None
        self.crashes = 0
        self.restart_at: float | None = None
        self.was_ready = False
        self.partial = b""

    def is_alive(self) -> bool:
        return self.child is not None and self.child.is_alive()

    def is_ready(self) -> bool:
        self.was_ready = self.was_ready or (self.child is not None and self.child.is_ready())
        return self.was_ready


class Supervisor:
    """Call everything from the main thread. Every wait raises StopRequested when a stop signal came."""

    def __init__(self, data_dir: Path, terminal: Terminal, signals: StopSignals) -> None:
        self._data_dir = data_dir
        self._terminal = terminal
        self._signals = signals
        self._places: dict[str, _Place] = {}
        self._stopped_stage = -1  # programs of this stage and below are not started again
        self._next_log_check = 0.0
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.wakeup, selectors.EVENT_READ, signals.clear_wakeup)

    def start(self, program: Program) -> None:
        """Start `program` and keep it running."""
        self._launch(self._place_for(program))

    def adopt(self, child: Child) -> None:
        """Keep a program running that was started, and became ready, elsewhere."""
        place = self._place_for(child.program)
        place.child = child
        place.was_ready = True

    def run_once(self, program: Program) -> None:
        """Run a program to its end. Raises StartFailed with the end of its log unless the exit code is 0."""
        place = self._place_for(program)
        try:
            self._launch(place)
            while place.is_alive():
                self._turn()
            self._finish_output(place)
        finally:
            self._forget(place)
        assert place.child is not None
        if place.child.process.returncode != 0:
            raise StartFailed(f"{program.name} failed ({place.child.describe_end()}):\n{self._tail(program)}")

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until these programs are ready. Raises StartFailed after `timeout_s` or repeated crashes."""
        deadline = time.monotonic() + timeout_s
        for place in [self._places[name] for name in names]:
            while not place.is_ready():
                if place.crashes >= START_TRIES:
                    raise StartFailed(f"{place.program.name} does not start:\n{self._tail(place.program)}")
                if time.monotonic() > deadline:
                    raise StartFailed(
                        f"{place.program.name} is not ready after {timeout_s:.0f}"
                        f" s:\n{self._tail(place.program)}"
                    )
                self._turn()

    def run_until(self, done: Callable[[], bool]) -> None:
        """Supervise until `done()`."""
        while not done():
            self._turn()

    def run(self) -> None:
        """Supervise until StopRequested. Sleeps until something happens: an idle platform costs no CPU
        here."""
        while True:
            waiting = any(place.restart_at is not None for place in self._places.values())
            self._turn(TURN_S if waiting else IDLE_S)

    def stop(self) -> None:
        """Stop everything, stage by stage, each program with its grace; a second signal kills what is
        left."""
        for stage in sorted({place.program.stage for place in self._places.values()}):
            self._stopped_stage = stage
            self._stop_stage([place for place in self._places.values() if place.program.stage == stage])
        for place in list(self._places.values()):
            self._forget(place)

    def _stop_stage(self, places: list[_Place]) -> None:
        asked_at = time.monotonic()
        killed: set[str] = set()
        for place in places:
            place.restart_at = None
            if place.child is not None:
                place.child.ask_to_stop()
        while alive := [place for place in places if place.is_alive()]:
            for place in alive:
                late = time.monotonic() - asked_at > place.program.grace_s
                if (late or self._signals.asked_twice()) and place.program.name not in killed:
                    killed.add(place.program.name)
                    self._kill(place, late)
            self._look(TURN_S)
        for place in places:
            self._finish_output(place)

    def _kill(self, place: _Place, late: bool) -> None:
        if late:
            self._terminal.warn(
                f"{place.program.name} did not stop in {place.program.grace_s:.0f} s: killed."
            )
        if place.child is not None:
            place.child.kill()

    def _turn(self, timeout_s: float = TURN_S) -> None:
        self._look(timeout_s)
        self._signals.raise_if_asked()

    def _look(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data()
        for place in list(self._places.values()):
            self._look_after(place)
        if time.monotonic() >= self._next_log_check:
            self._next_log_check = time.monotonic() + LOG_CHECK_S
            for place in self._places.values():
                cut_if_large(log_path(self._data_dir, place.program.name))

    def _look_after(self, place: _Place) -> None:
        if place.program.stage <= self._stopped_stage or place.program.once:
            return
        if place.restart_at is not None:
            if time.monotonic() >= place.restart_at:
                self._launch(place)
        elif not place.is_alive():
            self._plan_restart(place)

    def _plan_restart(self, place: _Place) -> None:
        assert place.child is not None
        self._finish_output(place)
        ran_s = time.monotonic() - place.child.started_at
        place.crashes = 1 if ran_s >= STEADY_S else place.crashes + 1
        delay = restart_delay_s(place.crashes)
        place.restart_at = time.monotonic() + delay
        log = log_path(self._data_dir, place.program.name)
        self._terminal.warn(
            f"{place.program.name} ended ({place.child.describe_end()}), starting it again in {delay:g} s;"
            f" log: {log}"
        )

    def _launch(self, place: _Place) -> None:
        place.restart_at = None
        try:
            if place.program.quiet:
                place.child = spawn(place.program, place.log)
            else:
                place.child = spawn(place.program)
        except StillBusy:  # its last processes are ending; that is no crash
            place.restart_at = time.monotonic() + TURN_S
            return
        except CannotSpawn as error:
            if place.child is None:
                raise
            place.crashes += 1
            place.restart_at = time.monotonic() + restart_delay_s(place.crashes)
            self._terminal.warn(f"{error}; trying again.")
            return
        pipe = place.child.process.stdout
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, lambda: self._read(place))

    def _read(self, place: _Place) -> bool:
        """Take what the program wrote; whether there may be more."""
        assert place.child is not None
        pipe = place.child.process.stdout
        if pipe is None or pipe.closed:
            return False
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(pipe)
            pipe.close()
            return False
        place.log.write(data)
        *lines, place.partial = (place.partial + data).split(b"\n")
        if len(place.partial) > LONGEST_LINE:
            lines, place.partial = [*lines, place.partial], b""
        for line in lines:
            self._terminal.program_line(place.program.name, line.rstrip(b"\r").decode(errors="replace"))
        return True

    def _finish_output(self, place: _Place) -> None:
        """Read what an ended program left in its pipe, and close it: a stray grandchild may hold the other
        end."""
        if place.child is None or place.child.process.stdout is None:
            return
        while self._read(place):
            pass
        if place.partial:
            self._terminal.program_line(place.program.name, place.partial.decode(errors="replace"))
            place.partial = b""
        if not place.child.process.stdout.closed:
            self._selector.unregister(place.child.process.stdout)
            place.child.process.stdout.close()

    def _place_for(self, program: Program) -> _Place:
        path = log_path(self._data_dir, program.name)
        cut_if_large(path)
        place = _Place(program, path.open("ab", buffering=0))
        self._places[program.name] = place
        if not program.quiet:
            self._terminal.register(program.name)
        return place

    def _forget(self, place: _Place) -> None:
        """Drop a program; kill it if a stop signal came while it ran to its end."""
        if place.child is not None:
            if place.is_alive():
                place.child.stop()
            self._finish_output(place)
        place.log.close()
        self._places.pop(place.program.name, None)

    def _tail(self, program: Program) -> str:
        return tail(log_path(self._data_dir, program.name))
