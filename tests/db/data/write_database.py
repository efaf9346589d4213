"""Writes the database of a running platform, in the middle of its work, as SQL: for test_upgrade.py.

    python tests/db/data/write_database.py /a/checkout > tests/db/data/before_0009.sql

The checkout is that of an older commit. Its `lovage up` is used through its public API only. Then its worker
and its courier are killed amid a prediction and a delivery, more predictions are made, one of them without
Redis, and Postgres is dumped. The first line is a comment with what the test needs to know, as JSON. In the
addresses of webhooks the host is the placeholder RECEIVER.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil

RECEIVER = "receiver.invalid"
PASSWORD = "correct horse battery"
LEFT_OUT = ("--", "\\", "SET ")  # comments, psql's own commands, settings that older servers do not know
WITHIN = 120  # seconds for anything that comes about by itself


class Receiver(BaseHTTPRequestHandler):
    """Answers /ok with 200 and /busy with 503; lets /slow wait for ever."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/slow":
            threading.Event().wait()
        self.send_response(200 if self.path == "/ok" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Standard error stays empty."""


def eventually(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + WITHIN
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {WITHIN} s"
        time.sleep(0.05)
    return value


class OldPlatform:
    """`lovage up` of another checkout, and one user of it."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self._env = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "LOVAGE_DATA_DIR": str(folder),
            "WEBHOOK_RETRY_SECONDS": "300,300",
        }
        self._checkout = checkout
        self._lovage("up", "--detach", "--port", "18231", "--flower-port", "18232")
        self.state = json.loads((folder / "up.json").read_text())
        self.http = httpx.Client(base_url=self.state["api_url"], timeout=60, trust_env=False)
        self.receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()

    def _lovage(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "app", *arguments]
        subprocess.run(command, env=self._env, cwd=self._checkout, stdout=sys.stderr, check=True)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = self.http.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def sign_up(self, name: str) -> str:
        """A new user's API key."""
        account = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        self.call("POST", "/v1/auth/register", account)
        form = {"username": name, "password": PASSWORD}
        token = self.http.post("/v1/auth/token", data=form).json()["access_token"]
        wanted = {"name": "laptop", "scopes": ["predict", "models"]}
        return str(self.call("POST", "/v1/keys", wanted, authorization=f"Bearer {token}")["key"])

    def webhook(self, path: str, events: str = "completed") -> dict[str, Any]:
        port = self.receiver.server_address[1]
        return {"webhook": f"http://127.0.0.1:{port}/{path}", "webhook_events_filter": [events]}

    def create(self, values: dict[str, Any], *, path: str = "/v1/predictions", **more: Any) -> str:
        """A new prediction's id."""
        headers = more.pop("headers", {})
        version = {} if "deployments" in path else {"version": "ada/echo"}
        return str(self.call("POST", path, {**version, "input": values, **more}, **headers)["id"])

    def wait(self, prediction: str, *statuses: str) -> dict[str, Any]:
        """The prediction, once it has one of the statuses (by default: once it has ended)."""
        wanted = statuses or ("succeeded", "failed", "canceled")

        def look() -> dict[str, Any] | None:
            shown = self.call("GET", f"/v1/predictions/{prediction}")
            return shown if shown["status"] in wanted else None

        return dict(eventually(look))

    def wait_for_deliveries(self, prediction: str, tries: int) -> None:
        path = f"/v1/predictions/{prediction}/deliveries"
        eventually(lambda: any(len(row["attempts"]) >= tries for row in self.call("GET", path)["results"]))

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of the platform whose command line has all the words."""
        family = psutil.Process(self.state["pid"]).children(recursive=True)
        # A killed one stays as a zombie, without a command line, while its stopped parent cannot reap it.
        lines = [" ".join(process.as_dict(["cmdline"], ad_value=[])["cmdline"]).split() for process in family]
        return [process for process, line in zip(family, lines, strict=True) if set(words) <= set(line)]

    def kill(self, *words: str) -> None:
        for process in self.processes(*words):
            process.kill()

    def kill_redis(self) -> None:
        url = httpx.URL(self.state["redis_url"])
        self.kill(f"127.0.0.1:{url.port}")

    def sql(self, statement: str) -> str:
        """What psql prints."""
        command = [self._program("psql"), "-XAtc", statement, self._database]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def dump(self) -> str:
        options = ["--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100"]
        command = [self._program("pg_dump"), *options, self._database]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @property
    def _database(self) -> str:
        return str(self.state["database_url"]).replace("+psycopg2", "")

    def _program(self, name: str) -> str:
        """Of the folder that the running Postgres was started from."""
        family = psutil.Process(self.state["pid"]).children(recursive=True)
        server = next(process for process in family if process.name() == "postgres")
        return str(Path(server.exe()).with_name(name))

    def stop(self) -> None:
        os.kill(self.state["pid"], signal.SIGCONT)
        self._lovage("down")


def end_some(platform: OldPlatform) -> dict[str, str]:
    """Predictions that have ended, one of each kind."""
    ids = {
        "succeeded": platform.create({"text": "Grüße, 世界 🙂"}, **platform.webhook("ok")),
        "once": platform.create({"text": "once"}, headers={"idempotency-key": "once"}),
        "pieces": platform.create({"text": "one two three", "chunks": 3, "seconds": 0.1}),
        "failed": platform.create({"fail": "echo failed as it should"}, **platform.webhook("busy")),
        "canceled": platform.create({"seconds": 600}),
    }
    platform.wait(ids["canceled"], "processing")
    platform.call("POST", f"/v1/predictions/{ids['canceled']}/cancel")
    for prediction in ids.values():
        platform.wait(prediction)
    platform.wait_for_deliveries(ids["succeeded"], 1)
    platform.wait_for_deliveries(ids["failed"], 1)
    return ids


def leave_some(platform: OldPlatform) -> dict[str, str]:
    """Predictions and deliveries that nothing works on any more."""
    leased = platform.create({"text": "leased"}, **platform.webhook("slow"))
    platform.wait(leased)
    eventually(lambda: platform.sql(f"{DELIVERY} = '{leased}' AND leased_until IS NOT NULL") == "1")
    platform.kill("worker", "--courier")
    due = platform.create({"text": "due"}, **platform.webhook("ok"))
    platform.wait(due)
    running = platform.create({"text": "running", "seconds": 3}, **platform.webhook("ok"))
    stopping = platform.create({"text": "stopping", "seconds": 600})
    for prediction in (running, stopping):
        platform.wait(prediction, "processing")
    platform.kill("worker", "--device")
    platform.call("POST", f"/v1/predictions/{stopping}/cancel")
    waiting = platform.create({"text": "waiting"}, **platform.webhook("ok", "start"))
    deployed = platform.create({"text": "deployed"}, path="/v1/deployments/ada/fast/predictions")
    handed_back = platform.create({"text": "handed back"})
    platform.sql(f"UPDATE predictions SET rung_at = NULL, attempt = 1 WHERE id = '{handed_back}'")
    platform.kill_redis()
    unsent = platform.create({"text": "its message was never sent"})
    return {
        "leased": leased,
        "due": due,
        "running": running,
        "stopping": stopping,
        "waiting": waiting,
        "deployed": deployed,
        "handed back": handed_back,
        "unsent": unsent,
    }


DELIVERY = "SELECT count(*) FROM deliveries WHERE prediction_id"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(sys.argv[1]).resolve()
        platform = OldPlatform(checkout, Path(folder))
        try:
            key = platform.sign_up("ada")
            platform.http.headers["authorization"] = f"Bearer {key}"
            echo = {"name": "echo", "visibility": "public", "version": {"runtime": "echo"}}
            platform.call("POST", "/v1/models", echo)
            platform.call("POST", "/v1/models", {**echo, "name": "secret", "visibility": "private"})
            platform.call("POST", "/v1/deployments", {"name": "fast", "model": "ada/echo", "hardware": "cpu"})
            ids = end_some(platform)
            os.kill(platform.state["pid"], signal.SIGSTOP)  # it would start again what is killed now
            ids |= leave_some(platform)
            secret = platform.call("GET", "/v1/webhooks/default/secret")["key"]
            facts = {
                "key": key,
                "password": PASSWORD,
                "webhook_secret": secret,
                "receiver": RECEIVER,
                "ids": ids,
            }
            facts["at"] = platform.sql("SELECT now()")
            dump = platform.dump()
        finally:
            platform.stop()
    address = f"127.0.0.1:{platform.receiver.server_address[1]}"
    for place, name in (
        (address, RECEIVER),
        (sys.prefix, "/srv/lovage/.venv"),
        (str(checkout), "/srv/lovage"),
    ):
        dump = dump.replace(place, name)
    print("--", json.dumps(facts))
    print("\n".join(line for line in dump.splitlines() if line and not line.startswith(LEFT_OUT)))


if __name__ == "__main__":
    main()
