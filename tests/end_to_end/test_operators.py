"""What operators see and do: Flower, health, the command line, kill -9 and start again."""

import json
import os
from pathlib import Path

import httpx
import psutil
import pytest
from otlp_collector import Collector
from platform_under_test import UpPlatform, wait_all
from waiting import eventually
from webhook_receiver import Receiver


def test_the_first_screen_has_the_result_the_urls_and_commands(platform: UpPlatform) -> None:
    screen = platform.first_screen  # type: ignore[attr-defined]
    assert "demo/echo answered 'Lovage is up'" in screen
    assert platform.url in screen
    assert screen.count("lovage run") == 2
    assert oct((platform.folder / "key").stat().st_mode & 0o777) == "0o600"


def test_flower_lists_the_task_under_the_predictions_id(platform: UpPlatform, client: httpx.Client) -> None:
    """Also of one that failed because its process died, and Flower's button to revoke one cancels it."""
    inputs = {
        "SUCCESS": {"text": "f"},
        "FAILURE": {"fail": True},
        "FAILURE by crashes": {"crash": True},
        "REVOKED": {"seconds": 60},
    }
    made = {
        state: client.post("/v1/predictions", json={"version": "demo/echo", "input": given}).json()["id"]
        for state, given in inputs.items()
    }
    auth = (platform.state.flower_user, platform.state.flower_password)
    revoke = f"{platform.state.flower_url}/api/task/revoke/{made['REVOKED']}"
    assert httpx.post(revoke, auth=auth, trust_env=False).status_code == 200
    ended = wait_all(client, list(made.values()))
    assert [each["status"] for each in ended] == ["succeeded", "failed", "failed", "canceled"]
    for state, task in made.items():
        url = f"{platform.state.flower_url}/api/task/info/{task}"
        eventually(lambda url=url, state=state: _flower_state(url, auth) == state.split()[0], 20)


def test_flowers_broker_page_shows_the_queues_in_use(platform: UpPlatform) -> None:
    auth = (platform.state.flower_user, platform.state.flower_password)
    url = f"{platform.state.flower_url}/api"

    def names() -> set[str]:
        answer = httpx.get(f"{url}/queues/length", auth=auth, trust_env=False).json()
        return {queue["name"] for queue in answer["active_queues"]}

    eventually(lambda: {"q:cpu", "webhooks"} <= names(), 30)


def _flower_state(url: str, auth: tuple[str, str]) -> str:
    answer = httpx.get(url, auth=auth, trust_env=False)
    return answer.json()["state"] if answer.status_code == 200 else ""


def test_flower_refuses_callers_without_a_login(platform: UpPlatform) -> None:
    assert httpx.get(f"{platform.state.flower_url}/api/tasks", trust_env=False).status_code == 401


def test_health_readiness_and_status(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    ready = client.get("/ready")
    assert ready.status_code == 200
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert client.get("/status").json()["live_workers"] >= 1
    for path in ("/", "/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "demo/echo", "-i", "text=from the shell"), 0, "from the shell"),
        (("run", "demo/echo", "-i", "text=ab", "-i", "chunks=3", "--stream"), 0, "ab"),
        (("run", "demo/echo", "-i", "fail=no luck"), 1, "no luck"),
        (("run", "demo/nothing", "-i", "a=b"), 1, "could not be found"),
        (("run", "demo/echo", "-i", "novalue"), 2, "key=value"),
        (("run", "demo/echo", "-i", "seconds=-1"), 1, "seconds"),
        (("models", "ls"), 0, "demo/minilm"),
        (("models", "show", "demo/words"), 0, "max_new_tokens"),
        (("keys", "ls"), 0, "lovage up"),
        (("ls",), 0, "demo/echo"),
        (("get", "zzz"), 2, "no id of your latest 500 predictions begins with it"),
        (("get", "0"), 2, "ids of your latest 500 predictions begin with it"),
        (("run", "Echo!", "-i", "text=x"), 2, "Echo!: must be owner/name, owner/name:version,"),
        (("stats", "demo/echo:0000"), 2, "no id of the versions of demo/echo begins with it"),
        (("run", "demo/echo:", "-i", "text=x"), 2, "no id of the versions of demo/echo begins with it"),
        (("run", "demo/minilm", "-i", "text=one line"), 0, ", "),
        (("--version",), 0, "lovage 0."),
        (("users", "ls"), 0, "admin@lovage.example"),
        (("users", "disable", "admin"), 1, "your own account"),
        (("users", "enable", "nobody"), 1, "could not be found"),
        (("audit", "--action", "user.disabled"), 0, "action"),
        (("audit", "--since", "soon"), 2, "--since"),
        (("doctor",), 0, "ready"),
        (("hardware",), 0, "cpu"),
    ],
)
def test_the_command_line(platform: UpPlatform, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = platform.lovage(*arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def log_lines(platform: UpPlatform, name: str, text: str) -> list[str]:
    """Of the log files whose names begin so, the lines with this text."""
    files = (platform.folder / "logs").glob(f"{name}*.log")
    return [line for file in files for line in file.read_text().splitlines() if text in line]


REQUEST_ID = "lovage.request_id"
# The spans of a prediction and what each is below.
TREE = {
    "publish": "POST /v1/predictions",
    "process": "POST /v1/predictions",
    "claim": "process",
    "batch": "process",
    "store": "process",
    "finish": "process",
    "webhook": "POST /v1/predictions",
}


def test_one_request_id_is_in_the_access_log_the_workers_log_the_trace_and_the_webhooks(
    platform: UpPlatform, client: httpx.Client, receiver: Receiver, collector: Collector
) -> None:
    body = {"version": "demo/echo", "input": {"fail": True}, "webhook": receiver.url}
    made = client.post("/v1/predictions", json=body, headers={"X-Request-ID": "case-4711"}).json()
    assert made["request_id"] == "case-4711"
    eventually(lambda: receiver.requests, 20)
    assert receiver.requests[0].headers["x-request-id"] == "case-4711"
    for name, event in (("api", "access"), ("worker", "prediction_failed"), ("courier", "delivered")):
        eventually(lambda name=name: log_lines(platform, name, "case-4711"), 10)
        [line] = log_lines(platform, name, "case-4711")
        assert event in line
        assert f"prediction={made['id']}" in line
    roots = lambda: [each for each in collector.spans if each.attributes.get(REQUEST_ID) == "case-4711"]  # noqa: E731
    root = eventually(roots, 10)[0]
    eventually(lambda: TREE.keys() <= collector.of_trace(root.trace).keys(), 10)
    spans = collector.of_trace(root.trace)
    assert {name: spans[parent].id for name, parent in TREE.items()} == {
        name: spans[name].parent for name in TREE
    }
    assert [spans[name].service for name in ("publish", "process", "webhook")] == [
        "lovage-api",
        "lovage-worker-cpu",
        "lovage-courier",
    ]
    for name in ("POST /v1/predictions", "process", "webhook"):
        assert spans[name].attributes[REQUEST_ID] == "case-4711"
    assert spans["process"].seconds >= spans["batch"].seconds > 0
    assert "traceparent" not in made["routing"]


def test_pictures_are_saved_and_named(platform: UpPlatform, tmp_path: Path) -> None:
    done = platform.lovage("run", "demo/digits", "-i", "prompt=four", "-i", "steps=4", cwd=tmp_path)
    assert (tmp_path / done.stdout.strip()).read_bytes().startswith(b"\x89PNG")


def test_a_key_can_be_made_used_and_revoked(platform: UpPlatform) -> None:
    made = json.loads(platform.lovage("keys", "create", "for a test", "--scope", "predict", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['key']}"}
    body = {"version": "demo/echo", "input": {"text": "k"}}
    assert (
        httpx.post(f"{platform.url}/v1/predictions", json=body, headers=headers, trust_env=False).status_code
        == 201
    )
    refused = httpx.post(
        f"{platform.url}/v1/models", json={"owner": "admin", "name": "x"}, headers=headers, trust_env=False
    )
    assert refused.status_code in (403, 422)
    platform.lovage("keys", "rm", made["id"])
    assert (
        httpx.post(f"{platform.url}/v1/predictions", json=body, headers=headers, trust_env=False).status_code
        == 401
    )


@pytest.mark.chaos
def test_kill_9_of_up_amid_fifty_predictions_loses_none(tmp_path: Path) -> None:
    second = UpPlatform.in_folder(tmp_path / "killed")
    second.up()
    try:
        with second.client() as client:
            bodies = [
                {"version": "demo/echo", "input": {"text": f"t{n}", "seconds": 0.2 * (n % 10)}}
                for n in range(50)
            ]
            ids = [
                client.post("/v1/predictions", json=body).raise_for_status().json()["id"] for body in bodies
            ]
        family = second.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, f"left behind: {[process.cmdline() for process in alive]}"
        second.up()
        with second.client() as client:
            ended = wait_all(client, ids, 120)
        assert [one["status"] for one in ended] == ["succeeded"] * 50
        assert [one["output"] for one in ended] == [f"t{n}" for n in range(50)]
    finally:
        second.down()
    assert not [one for one in family if one.is_running() and one.ppid() == os.getpid()]
