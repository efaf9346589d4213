"""`lovage up`: one command that brings up the whole platform on this machine and takes it down again.

    up(UpOptions(data_dir=Path(".lovage")), Hooks(self_check=..., print_screen=...)) -> exit code

Steps: the data directory's lock, ports, servers, migrations, bootstrap, programs (all at once), the API's
/ready, the self-check, the screen. Knows the steps; does not know how servers start, what the programs do, or
what is shown.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.db.first_backend import watch_backends
from app.local import composition, detached, secret_file
from app.local.composition import FLOWER_USER, Connections, UpOptions
from app.local.embedded import EmbeddedServers, Urls
from app.local.errors import LocalError
from app.local.locks import FileLock, lock_data_dir
from app.local.log_file import FULL
from app.local.on_demand import OnDemand
from app.local.platform_state import Platform, forget_platform, write_platform
from app.local.ports import holder_of, is_free
from app.local.stop_signals import StopRequested, StopSignals
from app.local.supervisor import Supervisor
from app.local.terminal import Terminal, wants_colour

Report = Mapping[str, Any]

INTERRUPTED = 130  # what shells report for a command that Ctrl-C ended
PORT_WAIT_S = 1.0  # the API of a launcher that was killed a moment ago is dying with it


def _nothing_to_check(platform: Platform) -> Report:
    return {}


def _nothing_to_print(platform: Platform, report: Report) -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """What the command line adds.

    `self_check` runs in a thread once the API is ready; its JSON-able answer goes to `print_screen`. If it
    raises, `print_screen` gets `{"failed": the text}` and the platform stays up, so that one can look at it.
    `on_progress` also gets every short line.
    """

    self_check: Callable[[Platform], Report] = _nothing_to_check
    print_screen: Callable[[Platform, Report], None] = _nothing_to_print
    on_progress: Callable[[str], None] = field(default=lambda text: None)


def up(options: UpOptions, hooks: Hooks | None = None) -> int:
    """Run the platform until it is stopped (or, detached, until it is ready). Returns the exit code.

    0: stopped, or ready when detached; 1: a sentence on the terminal says what failed; 130: interrupted on
    the way up.
    """
    hooks = hooks or Hooks()
    options = dataclasses.replace(options, data_dir=options.data_dir.absolute())
    terminal = Terminal(sys.stdout, colour=wants_colour(sys.stdout, options.env))
    try:
        launch = _Launch(options, hooks, terminal)
        launch.refuse_at_once()
        return _up_detached(options, hooks, terminal) if options.detach else launch.run()
    except LocalError as error:
        terminal.warn(str(error))
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        terminal.warn(f"There is no space left on the disk of {options.data_dir} ({error}).")
        return 1


def _up_detached(options: UpOptions, hooks: Hooks, terminal: Terminal) -> int:
    def in_background(send: detached.Send) -> int:
        background = Hooks(
            self_check=hooks.self_check,
            print_screen=lambda platform, report: send({"report": dict(report)}),
            on_progress=lambda text: send({"progress": text}),
        )
        quiet = Terminal(sys.stdout, show_programs=False)  # every program has its own log file
        launch = _Launch(options, background, quiet)
        try:
            return launch.run()
        except LocalError as error:
            quiet.warn(str(error))
            send({"error": str(error)})
            return 1

    return detached.launch_in_background(options.data_dir, in_background, terminal, hooks.print_screen)


class _Launch:
    """One run of the platform in this process."""

    def __init__(
        self,
        options: UpOptions,
        hooks: Hooks,
        terminal: Terminal,
    ) -> None:
        self._options = options
        self._hooks = hooks
        self._terminal = terminal
        self._is_up = False

    def run(self) -> int:
        """Start, supervise, stop. Raises LocalError; nothing is left running then."""
        lock = lock_data_dir(self._options.data_dir)
        try:
            with StopSignals() as signals:
                return self._run_locked(lock, signals)
        finally:
            lock.close()

    def _run_locked(self, lock: FileLock, signals: StopSignals) -> int:
        self._check_ports()
        supervisor = Supervisor(self._options.data_dir, self._terminal, signals)
        try:
            self._start(supervisor, lock, signals)
            supervisor.run()
        except StopRequested:
            self._progress("Stopping what runs; Ctrl-C again kills it at once.")
        finally:
            supervisor.stop()
            forget_platform(self._options.data_dir)
        self._progress("Stopped.")
        return 0 if self._is_up else INTERRUPTED

    def _start(self, supervisor: Supervisor, lock: FileLock, signals: StopSignals) -> None:
        connections = self._connect(supervisor, lock, signals)
        env = composition.environment(self._options, connections)
        platform = self._describe(connections)
        self._timed(
            "Database migrated",
            lambda: supervisor.run_once(composition.one_off(self._options, env, "migrate")),
        )
        self._timed(
            "Bootstrapped", lambda: supervisor.run_once(composition.one_off(self._options, env, "bootstrap"))
        )
        self._timed("API ready", lambda: self._start_programs(supervisor, env))
        write_platform(platform)
        self._check_and_show(supervisor, platform)
        self._is_up = True

    def _connect(self, supervisor: Supervisor, lock: FileLock, signals: StopSignals) -> Connections:
        options = self._options
        servers = EmbeddedServers(
            options.data_dir,
            postgres=not options.database_url,
            valkey=not options.redis_url,
            lock=lock,
            tick=signals.raise_if_asked,
        )
        started = time.monotonic()
        urls: Urls = servers.start()
        for child in servers.children.values():
            supervisor.adopt(child)
        if versions := servers.versions():
            self._progress(f"{' and '.join(versions)} ready in {time.monotonic() - started:.1f} s")
        secrets = secret_file.load_or_make(options.data_dir)
        return Connections(
            database_url=options.database_url or urls.database_url,
            redis_url=options.redis_url or urls.redis_url,
            secret_key=options.env.get("SECRET_KEY") or secrets.secret_key,
            flower_auth=options.env.get("FLOWER_BASIC_AUTH") or f"{FLOWER_USER}:{secrets.flower_password}",
        )

    def _start_programs(self, supervisor: Supervisor, env: Mapping[str, str]) -> None:
        for program in composition.platform_programs(self._options, env):
            supervisor.start(program)
        if gateway := composition.gateway_program(self._options, env):
            supervisor.start_on_demand(OnDemand(gateway, partial(watch_backends, env["DATABASE_URL"])))
        supervisor.wait_ready(["api"], self._options.ready_timeout_s)

    def _check_and_show(self, supervisor: Supervisor, platform: Platform) -> None:
        check = _InThread(lambda: self._hooks.self_check(platform))
        supervisor.run_until(check.is_done)
        report = check.answer if check.error is None else {"failed": str(check.error)}
        if check.error is not None:
            logs = self._options.data_dir / "logs"
            self._terminal.warn(f"The self-check failed: {check.error} (the platform stays up; logs: {logs})")
        self._hooks.print_screen(platform, report)

    def _describe(self, connections: Connections) -> Platform:
        user, _, password = connections.flower_auth.partition(":")
        return Platform(
            pid=os.getpid(),
            data_dir=str(self._options.data_dir),
            api_url=composition.api_url(self._options),
            flower_url=composition.flower_url(self._options),
            devices=self._options.devices,
            started_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            key_file=str(self._options.data_dir / "key"),
            flower_user=user,
            flower_password=password,
            database_url=connections.database_url,
            redis_url=connections.redis_url,
            secret_key=connections.secret_key,
            notice=composition.exposure_notice(self._options),
        )

    def refuse_at_once(self) -> None:
        """Before its folder is made: a refusal leaves none behind. Raises LocalError."""
        if not self._options.data_dir.exists():
            self._check_ports()

    def _check_ports(self) -> None:
        deadline = time.monotonic() + PORT_WAIT_S
        addresses = (
            ("--port", self._options.host, self._options.port),
            ("--flower-port", "127.0.0.1", self._options.flower_port),
        )
        for option, host, port in addresses:
            while not _may_listen(option, host, port):
                if time.monotonic() >= deadline:
                    raise LocalError(
                        f"Port {port} is taken by {holder_of(port)}: stop it, or choose another with"
                        f" {option}."
                    )
                time.sleep(0.05)

    def _timed(self, what: str, step: Callable[[], None]) -> None:
        started = time.monotonic()
        step()
        self._progress(f"{what} in {time.monotonic() - started:.1f} s")

    def _progress(self, text: str) -> None:
        self._terminal.say(text)
        self._hooks.on_progress(text)


def _may_listen(option: str, host: str, port: int) -> bool:
    """False while another program listens there. Raises LocalError when no waiting would help."""
    try:
        return is_free(port, host)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LocalError(f"{host}:{port} cannot be listened on: {reason} ({option}, --host).") from None


class _InThread:
    """A function in a thread of its own, so that the programs' output is read while it runs."""

    def __init__(self, function: Callable[[], Report]) -> None:
        self.answer: Report = {}
        self.error: Exception | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, name="self-check", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.answer = self._function()
        except Exception as error:  # noqa: BLE001 - whatever it raises, the check has failed
            self.error = error
