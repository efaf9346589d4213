"""`lovage bench` against a running platform: figures, files, exit codes, and nothing left behind.

What really measures takes minutes: `make chaos` runs it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_under_test import UpPlatform
from waiting import eventually

QUICK = ("--set", "warm_up=4", "--set", "repeats=2", "--set", "count=20", "--set", "concurrency=[1, 4]")


def bench_models(client: httpx.Client) -> list[str]:
    found = client.get("/v1/models").json()["results"]
    return [one["name"] for one in found if one["name"].startswith("bench-")]


def saved(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def measured(platform: UpPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of the shipped echo experiment."""
    path = tmp_path_factory.mktemp("bench") / "echo.json"
    done = platform.lovage("bench", "echo", *QUICK, "-o", str(path))
    assert "4 in flight" in done.stdout
    assert "4 in flight, run 2 of 2" in done.stderr
    return Path(path)


@pytest.mark.chaos
def test_an_experiment_gives_figures_a_file_and_a_plot(measured: Path) -> None:
    result = saved(measured)
    assert [level["concurrency"] for level in result["levels"]] == [1, 4]
    for level in result["levels"]:
        assert len(level["runs"]) == 2
        assert all(one["succeeded"] == 20 and not one["errors"] for one in level["runs"])
        times = level["median"]["latency_ms"]
        assert 0 < times["p50"] <= times["p90"] <= times["p95"] <= times["p99"] <= times["max"]
        assert {"api", "worker", "models", "postgres", "redis"} <= set(level["median"]["cpu_ms"])
    assert "</svg>" in measured.with_suffix(".svg").read_text()


@pytest.mark.chaos
def test_a_result_compared_with_itself_is_within_the_spread(platform: UpPlatform, measured: Path) -> None:
    done = platform.lovage("bench", "compare", str(measured), str(measured))
    assert "within the spread" in done.stdout
    assert "1.00" in done.stdout


@pytest.mark.chaos
def test_streams_have_a_first_piece_and_an_open_loop_has_its_rate(
    platform: UpPlatform, tmp_path: Path
) -> None:
    inputs = "inputs={fixed: {text: abcdef, chunks: 3}}"
    more = (
        "--set",
        "mode=open",
        "--set",
        "rate=[40]",
        "--set",
        "count=20",
        "--set",
        "repeats=1",
        "--set",
        "warm_up=2",
    )
    path = tmp_path / "open.json"
    platform.lovage(
        "bench", "echo", "--set", inputs, "--set", "stream=true", *more, "--no-plot", "-o", str(path)
    )
    run = saved(path)["levels"][0]["median"]
    assert run["succeeded"] == 20
    assert 0 < run["first_ms"]["p50"] <= run["latency_ms"]["p50"]
    assert run["pieces_per_second"] > 0
    assert not path.with_suffix(".svg").exists()


@pytest.mark.chaos
def test_a_sweep_finds_a_policy_that_can_be_applied(
    platform: UpPlatform, client: httpx.Client, tmp_path: Path
) -> None:
    client.post(
        "/v1/models", json={"name": "swept", "version": {"runtime": "echo", "config": {"timeout": 50}}}
    ).raise_for_status()
    path = tmp_path / "sweep.json"
    done = platform.lovage(
        "bench",
        "sweep",
        "echo",
        *QUICK,
        "--batch",
        "auto,2",
        "--concurrency",
        "2",
        "--set",
        "model=admin/swept",
        "-o",
        str(path),
    )
    assert "balanced" in done.stdout
    goals = saved(path)["goals"]
    assert set(goals) == {"latency", "balanced", "throughput"}
    assert not bench_models(client), "the copies are removed"
    applied = platform.lovage("bench", "apply", str(path), "--goal", "latency").stdout.strip()
    latest = client.get("/v1/models/admin/swept").json()["latest_version"]
    assert applied == f"admin/swept:{latest['id']}"
    size = goals["latency"]["max_batch_size"]
    assert latest["config"] == {"timeout": 50, **({} if size == "auto" else {"max_batch_size": size})}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("echo", "--set", "concurrency=[0]"), 2, "concurrency.0"),
        (("nothing-here",), 2, "no such file"),
        (("echo", "--set", "model=demo/none"), 1, "could not be found"),
        (("echo", "--set", "inputs={fixed: {seconds: -1}}"), 1, "seconds"),
        (("echo", "--set", "inputs={fixed: {fail: no luck}}"), 1, "no luck"),
        (("minilm", "--set", "stream=true"), 1, "does not stream"),
        (("echo", "--url", "http://127.0.0.1:9"), 3, "does not answer"),
        (("compare", "gone.json", "gone.json"), 2, "gone.json"),
        (("sweep", "echo", "--batch", "0"), 2, "--batch"),
    ],
)
def test_exit_codes(
    platform: UpPlatform, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = platform.lovage("bench", *arguments, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_load_on_another_machine_must_be_asked_for_by_name(
    platform: UpPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOVAGE_URL", "http://predictions.example")
    done = platform.lovage("bench", "echo", check=False)
    assert done.returncode == 2
    assert "--url http://predictions.example" in done.stderr


def test_ctrl_c_keeps_what_was_measured_and_removes_the_copy(
    platform: UpPlatform, client: httpx.Client, tmp_path: Path
) -> None:
    path = tmp_path / "half.json"
    changes = (
        "--set",
        "batching={max_batch_size: 3}",
        "--set",
        "concurrency=[2, 3]",
        "--set",
        "duration=0.5",
        "--set",
        "repeats=50",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "bench", "echo", *changes, "-o", str(path)],
        env={**os.environ, "LOVAGE_DATA_DIR": str(platform.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stderr is not None
    while "run 1 of 50" not in process.stderr.readline():
        assert process.poll() is None
    assert bench_models(client)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=30)[1]
    assert process.returncode == 4, printed
    assert "Traceback" not in printed
    assert saved(path)["complete"] is False
    assert saved(path)["levels"][0]["median"]["succeeded"] > 0
    eventually(lambda: not bench_models(client), 10)
