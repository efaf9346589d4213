"""Two workers of one platform: they share what comes, and a stopping one gets nothing more."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from platform_under_test import UpPlatform, wait_all
from waiting import eventually


@pytest.fixture(scope="module")
def second(platform: UpPlatform) -> Iterator[subprocess.Popen[bytes]]:
    """Another CPU worker on the same databases, once the API knows of it."""
    env = platform.process_env(PREFETCH_MODELS="demo/digits")
    command = [sys.executable, "-m", "app", "worker", "--device", "cpu", "--name", "second"]
    with (platform.folder / "second.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        with platform.client() as client:
            eventually(lambda: len(workers(client)) == 2, 60)
        yield process
    finally:
        process.kill()
        process.wait(30)


def loaded(client: httpx.Client, model: str) -> list[str]:
    """The workers that have the model ready."""
    live = client.get("/status").json()["workers"]
    return [
        f"{one['device']}@{one['host']}"
        for one in live
        for told in one["models"]
        if (told["model"], told["state"]) == (model, "ready")
    ]


def workers(client: httpx.Client) -> list[str]:
    """The pinned queues of the workers that take new work."""
    return sorted(
        queue for one in client.get("/status").json()["workers"] for queue in one["queues"] if "@" in queue
    )


def in_turn(client: httpx.Client, count: int) -> list[str]:
    """The queues that so many predictions of a round-robin version went to; all of them succeeded."""
    asked = [
        client.post("/v1/predictions", json={"version": "demo/turns", "input": {"text": str(n)}})
        for n in range(count)
    ]
    assert {one.status_code for one in asked} == {201}, asked[0].text
    ended = wait_all(client, [one.json()["id"] for one in asked])
    assert {one["status"] for one in ended} == {"succeeded"}
    return [one["routing"]["queue"] for one in ended]


@pytest.fixture
def turns(client: httpx.Client) -> None:
    asked = {
        "owner": "demo",
        "name": "turns",
        "version": {"runtime": "echo", "config": {"routing": "round-robin"}},
    }
    client.post("/v1/models", json=asked)


@pytest.mark.chaos
def test_in_turn_both_workers_get_half_and_a_stopping_one_nothing(
    platform: UpPlatform, client: httpx.Client, second: subprocess.Popen[bytes], turns: None
) -> None:
    queues = workers(client)
    [prefetched] = eventually(lambda: [one for one in loaded(client, "demo/digits") if "second" in one], 60)
    assert prefetched in queues
    eventually(lambda: len(client.get("/v1/models/demo/turns/routing").json()["candidates"]) == 2)
    assert Counter(in_turn(client, 20)) == dict.fromkeys(queues, 10)
    told = platform.lovage("route", "demo/turns", "--explain").stdout
    assert all(queue in told for queue in queues)
    assert "its turn" in told
    slow = client.post("/v1/predictions", json={"version": "demo/turns", "input": {"seconds": 3}}).json()
    client.post("/v1/predictions", json={"version": "demo/turns", "input": {"seconds": 3}})
    second.send_signal(signal.SIGTERM)
    alone = eventually(lambda: found if len(found := workers(client)) == 1 else [])
    eventually(
        lambda: (
            not [one for one in candidates(client) if one["score"] is not None and one["worker"] not in alone]
        )
    )
    assert not set(in_turn(client, 6)) & (set(queues) - set(alone))
    assert wait_all(client, [slow["id"]])[0]["status"] == "succeeded"


def test_a_model_is_loaded_and_unloaded_on_request(platform: UpPlatform, client: httpx.Client) -> None:
    asked = {
        "owner": "demo",
        "name": "ordered",
        "version": {"runtime": "echo", "config": {"rows": 8, "pin": True}},
    }
    client.post("/v1/models", json=asked)
    assert "loaded on 1 of 1" in platform.lovage("models", "load", "demo/ordered", "--wait").stdout
    answer = client.post("/v1/models/demo/ordered/load")
    assert (answer.status_code, answer.json()["asked"]) == (202, loaded(client, "demo/ordered"))
    assert platform.lovage("models", "unload", "demo/ordered").stdout.startswith(
        "asked to unload demo/ordered: cpu@"
    )
    eventually(lambda: not loaded(client, "demo/ordered"))
    client.post(
        "/v1/models",
        json={
            "owner": "demo",
            "name": "broken",
            "version": {"runtime": "echo", "config": {"load_error": "no"}},
        },
    )
    failed = platform.lovage("models", "load", "demo/broken", "--wait", check=False)
    assert (failed.returncode, "in trouble on 1: no" in failed.stderr) == (1, True)
    assert "no; tried again in" in platform.lovage("fleet").stdout
    assert "in trouble on 1: no" in platform.lovage("models", "show", "demo/broken").stdout


def test_who_crashes_a_public_model_on_purpose_is_refused_it_and_nobody_else(
    platform: UpPlatform, client: httpx.Client
) -> None:
    version = {"runtime": "echo", "config": {"rows": 7}}
    made = {"owner": "demo", "name": "dying", "visibility": "public", "version": version}
    version_id = client.post("/v1/models", json=made).json()["latest_version"]["id"]
    for _ in range(3):
        client.post("/v1/predictions", json={"version": version_id, "input": {"crash": True}})

    def is_refused() -> bool:
        values = {"version": version_id, "input": {"text": "mine"}}
        ended = client.post("/v1/predictions", json=values, headers={"Prefer": "wait=30"}).json()
        return "your inputs have killed this model's process 5 times" in (ended["error"] or "")

    eventually(is_refused, 60)
    serving = client.get(f"/v1/models/demo/dying/versions/{version_id}").json()["serving"]
    assert serving["status"] != "unhealthy", serving
    with platform.client() as other:
        account = {"email": "o@x.test", "username": "other", "password": "correct horse"}
        other.post("/v1/auth/register", json=account).raise_for_status()
        signed_in = {"username": "other", "password": "correct horse"}
        token = other.post("/v1/auth/token", data=signed_in).json()["access_token"]
        other.headers["Authorization"] = f"Bearer {token}"
        values = {"version": version_id, "input": {"text": "theirs"}}
        ended = other.post("/v1/predictions", json=values, headers={"Prefer": "wait=30"}).json()
    assert (ended["status"], ended["output"]) == ("succeeded", "theirs")


@pytest.mark.chaos
def test_a_worker_with_another_storage_refuses_to_start(platform: UpPlatform, tmp_path: Path) -> None:
    env = platform.process_env(LOVAGE_DATA_DIR=str(tmp_path / "another"))
    command = [sys.executable, "-m", "app", "worker", "--device", "cpu", "--name", "stranger"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("lovage: ") == 1
    for part in (str(platform.folder), str(tmp_path / "another"), "STORAGE_DIR"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_worker_of_the_same_name_refuses_to_start(platform: UpPlatform) -> None:
    env = platform.process_env()
    command = [sys.executable, "-m", "app", "worker", "--device", "cpu"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "runs on this machine already, as process" in done.stderr
    assert "--name" in done.stderr
    assert "Traceback" not in done.stderr


def candidates(client: httpx.Client) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get("/v1/models/demo/turns/routing").json()["candidates"]
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("route", "demo/echo"), 0, "cpu"),
        (("route", "demo/echo", "--json"), 0, '"candidates"'),
        (("route", "demo/echo", "--strategy", "by-dice"), 2, "must be one of affinity"),
        (("route", "non/sen/se"), 2, "owner/name"),
        (("route", "demo/nothing"), 1, "could not be found"),
    ],
)
def test_the_command_line_says_where_it_would_go(
    platform: UpPlatform, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = platform.lovage(*arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
