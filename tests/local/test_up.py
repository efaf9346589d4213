"""`lovage up` and `lovage down` with real servers and stand-in programs."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from launching import Launchers, processes_of
from waiting import eventually

from app.local.detached import down
from app.local.platform_state import is_running, read_platform
from app.local.ports import choose_port


@pytest.fixture
def options(data_dir: Path) -> dict[str, Any]:
    return {"data_dir": data_dir, "port": choose_port(), "flower_port": choose_port()}


def read_until(launcher: subprocess.Popen[str], text: str) -> str:
    assert launcher.stdout is not None
    seen = ""
    for line in launcher.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was not printed:\n{seen}")


def events(data_dir: Path) -> list[str]:
    return (data_dir / "events").read_text().splitlines()


def test_up_starts_everything_and_ctrl_c_drains_it(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    launcher = launchers.up(**options, devices=["cpu", "cpu"])
    shown = read_until(launcher, "SCREEN")
    assert f"http://127.0.0.1:{options['port']}" in shown
    assert "Valkey 9" in shown
    if "worker-cpu.2 | hello" not in shown:
        read_until(launcher, "worker-cpu.2 | hello from worker")
    platform = read_platform(data_dir)
    assert platform is not None
    assert platform.pid == launcher.pid
    assert stat.S_IMODE((data_dir / "up.json").stat().st_mode) == 0o600
    eventually(
        lambda: len(events(data_dir)) == 2 + 6
    )  # the steps and the programs; only the API was waited for
    with psycopg2.connect(platform.database_url.replace("+psycopg2", "")) as connection:
        connection.cursor().execute("CREATE TABLE backends AS SELECT 'gpu' AS name")
    eventually(lambda: "gateway started" in events(data_dir))
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(20) == 0
    assert not (data_dir / "up.json").exists()
    assert not processes_of(data_dir)
    assert events(data_dir)[:2] == ["migrate started", "bootstrap started"]
    assert sorted(event for event in events(data_dir) if event.endswith("drained")) == [
        f"{name} drained" for name in ("api", "clock", "courier", "flower", "gateway", "worker", "worker")
    ]


@pytest.mark.parametrize("after_s", [0.3, *(pytest.param(at, marks=pytest.mark.chaos) for at in (0.0, 0.9))])
def test_an_up_killed_on_its_first_way_up_leaves_no_process_and_the_next_one_works(
    launchers: Launchers, new_dir: Path, after_s: float
) -> None:
    launcher = launchers.up(data_dir=new_dir, port=choose_port(), flower_port=choose_port())
    eventually(new_dir.exists)
    time.sleep(after_s)
    kill_and_start_again(launcher, launchers, data_dir=new_dir, port=choose_port(), flower_port=choose_port())


def test_an_up_killed_while_running_leaves_no_process_and_the_next_one_takes_its_ports(
    launchers: Launchers, options: dict[str, Any]
) -> None:
    launcher = launchers.up(**options)
    read_until(launcher, "SCREEN")
    kill_and_start_again(launcher, launchers, **options)


def kill_and_start_again(launcher: subprocess.Popen[str], launchers: Launchers, **options: Any) -> None:
    launcher.kill()
    again = launchers.up(**options)
    read_until(again, "SCREEN")
    again.terminate()
    assert again.wait(20) == 0
    assert not processes_of(options["data_dir"])


def test_a_killed_server_is_started_again(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    launcher = launchers.up(**options)
    read_until(launcher, "SCREEN")
    for name in ("valkey", "postgres"):
        os.kill(int((data_dir / f"{name}.lock").read_text()), signal.SIGKILL)
        read_until(launcher, f"{name} ended (signal SIGKILL)")
        eventually(lambda name=name: psutil.pid_exists(int((data_dir / f"{name}.lock").read_text() or 0)))
    launcher.terminate()
    assert launcher.wait(20) == 0


def test_a_second_up_says_who_runs(launchers: Launchers, options: dict[str, Any], data_dir: Path) -> None:
    first = launchers.up(**options)
    read_until(first, "SCREEN")
    second = launchers.up(**options)
    assert second.wait(20) == 1
    assert second.stdout is not None
    assert second.stdout.read() == (
        f"Lovage is already running on {data_dir} (pid {first.pid}). Stop it with `lovage down` first.\n"
    )


def test_a_taken_api_port_is_one_sentence(
    launchers: Launchers, options: dict[str, Any], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", options["port"])):
        launcher = launchers.up(**{**options, "data_dir": tmp_path / "fresh"})
        assert launcher.wait(20) == 1
    assert not (tmp_path / "fresh").exists(), "a refusal leaves nothing behind"
    assert launcher.stdout is not None
    (sentence,) = launcher.stdout.read().splitlines()
    assert sentence.startswith(f"Port {options['port']} is taken by pid {os.getpid()} (")
    assert sentence.endswith("stop it, or choose another with --port.")


def test_a_failed_migration_stops_everything(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    launcher = launchers.up(**options, env={"FAKE_EXIT_MIGRATE": "3"})
    assert launcher.wait(20) == 1
    assert launcher.stdout is not None
    assert "migrate failed (exit code 3)" in launcher.stdout.read()
    assert not processes_of(data_dir)


def test_detached_up_returns_when_ready_and_down_stops_it(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    launcher = launchers.up(**options, detach=True)
    assert launcher.wait(30) == 0
    assert launcher.stdout is not None
    shown = launcher.stdout.read()
    platform = read_platform(data_dir)
    assert platform is not None
    assert f"SCREEN {platform.pid} {platform.api_url}" in shown
    assert os.getsid(platform.pid) != os.getsid(0)
    lines: list[str] = []
    assert down(data_dir, lines.append) == 0
    assert lines[0].startswith(f"Stopped Lovage (pid {platform.pid}) in ")
    assert not is_running(data_dir)
    eventually(
        lambda: not processes_of(data_dir)
    )  # the launcher itself ends a moment after it has let the lock go
    assert down(data_dir, lines.append) == 0
    assert lines[1] == f"Lovage is not running on {data_dir}."


def test_detached_up_says_why_it_failed(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    launcher = launchers.up(**options, detach=True, env={"FAKE_API_BROKEN": "1"})
    assert launcher.wait(30) == 1
    assert launcher.stdout is not None
    assert "api does not start:\nhello from api\nno such setting" in launcher.stdout.read()
    assert not is_running(data_dir)


def test_servers_that_are_named_are_not_started_again(
    launchers: Launchers, options: dict[str, Any], data_dir: Path
) -> None:
    elsewhere = launchers.servers(data_dir)
    assert elsewhere.stdout is not None
    database_url, redis_url = elsewhere.stdout.readline().split()
    own_dir = data_dir / "without servers"
    launcher = launchers.up(
        **{**options, "data_dir": own_dir}, database_url=database_url, redis_url=redis_url
    )
    read_until(launcher, "SCREEN")
    assert not (own_dir / "postgres").exists()
    assert json.loads((own_dir / "up.json").read_text())["database_url"] == database_url
    launcher.terminate()
    assert launcher.wait(20) == 0
