"""Two platforms on this machine, peers of each other: one runs a model that only the other has, at once and
streamed, cancels there, and its peer is killed in the middle of an answer."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.local.platform_state import Platform
from app.local.ports import choose_port
from scripts.own_platform import UNLIMITED, remove, start, stop, terminable

MODEL = "net/only-there"
WORDS = " ".join(f"word{number}" for number in range(40))
LONG_SECONDS = 6
LONG = {"text": WORDS, "chunks": 40, "seconds": LONG_SECONDS}
WAIT_SECONDS = 60.0
Prediction = dict[str, Any]


class Caller:
    """Of one platform's API, as its administrator or with another key."""

    def __init__(self, platform: Platform, key: str = "") -> None:
        key = key or Path(platform.key_file).read_text("utf-8").strip()
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=platform.api_url, headers=headers, timeout=90, trust_env=False)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self._client.request(method, path, json=body, headers=headers)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def sign_in(self, account: dict[str, str]) -> str:
        """A token of another account."""
        answer = self._client.post("/v1/auth/token", data={**account, "grant_type": "password"})
        return str(answer.raise_for_status().json()["access_token"])

    def predict(self, values: dict[str, Any], **headers: str) -> Prediction:
        return dict(self.call("POST", "/v1/predictions", {"version": MODEL, "input": values}, **headers))

    def get(self, prediction: Prediction) -> Prediction:
        return dict(self.call("GET", f"/v1/predictions/{prediction['id']}"))

    def end_of(self, prediction: Prediction) -> Prediction:
        return dict(wait_for("an end", lambda: (now := self.get(prediction))["completed_at"] and now))

    def pieces(self, prediction: Prediction) -> Iterator[tuple[float, str]]:
        """When each piece of the stream came, and what it was."""
        with self._client.stream("GET", prediction["urls"]["stream"]) as answer:
            event = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                event = value if name == "event" else event
                if name == "data" and event == "output":
                    yield time.monotonic(), value


def wait_for(what: str, look: Callable[[], Any]) -> Any:
    """The first answer that says something."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if answer := look():
            return answer
        time.sleep(0.1)
    raise SystemExit(f"not within {WAIT_SECONDS:g} s: {what}")


def check(is_good: bool, what: str) -> None:
    """Says it, or ends the script."""
    print(f"{'ok    ' if is_good else 'FAILED'} {what}", flush=True)
    if not is_good:
        raise SystemExit(1)


def register_model(admin: Caller) -> str:
    """The model that only this platform has; answers a key of the user as whom peers run it."""
    account = {"username": "peers", "email": "peers@lovage.test", "password": "peers-run-as-me-1"}
    admin.call("POST", "/v1/users", account)
    model = {"name": "only-there", "visibility": "public", "version": {"runtime": "echo"}}
    admin.call("POST", "/v1/models", model)
    token = admin.sign_in(account)
    body = {"name": "peers", "scopes": ["predict"]}
    return str(admin.call("POST", "/v1/keys", body, Authorization=f"Bearer {token}")["key"])


@contextmanager
def peer_process(platform: Platform, folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`lovage peer` over the platform's folder."""
    own = {"LOVAGE_DATA_DIR": str(folder), "LOVAGE_ENV": "development", "P2P_API_URL": platform.api_url}
    door = folder / "peer" / "control.json"
    with (folder / "peer.log").open("ab") as log:
        command = [sys.executable, "-m", "app", "peer"]
        process = subprocess.Popen(command, env={**os.environ, **own, **env}, stdout=log, stderr=log)
    try:
        wait_for("the peer process", door.is_file)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def address_of(folder: Path) -> str:
    """The peer process's own."""
    door = json.loads((folder / "peer" / "control.json").read_text("utf-8"))
    headers = {"Authorization": f"Bearer {door['token']}"}
    shown = httpx.get(f"{door['url']}/peers", headers=headers, trust_env=False).raise_for_status().json()
    return str(shown["addresses"][0])


def check_answers(here: Caller, there: Caller) -> None:
    unary = here.predict({"text": "over there"}, Prefer="wait=60")
    check(unary["output"] == "over there", "a model that only the other platform has answers")
    check(unary["metrics"]["peer"] == "there", "the record names the peer")
    pieces = list(here.pieces(here.predict(LONG)))
    check("".join(text for _, text in pieces) == WORDS, f"{len(pieces)} pieces are streamed, none is missing")
    check(pieces[-1][0] - pieces[0][0] > LONG_SECONDS / 2, "they come while they are made")
    listed = there.call("GET", "/v1/predictions")["results"]
    check(
        [each["status"] for each in listed] == ["succeeded"] * 2, "over there they are the peers' user's own"
    )


def check_cancel(here: Caller, there: Caller) -> None:
    prediction = here.predict(LONG)
    wait_for("output", lambda: here.get(prediction)["output"])
    here.call("POST", f"/v1/predictions/{prediction['id']}/cancel")
    latest = wait_for(
        "the end over there",
        lambda: (all_ := there.call("GET", "/v1/predictions")["results"])[0]["completed_at"] and all_[0],
    )
    check(latest["status"] == "canceled", "a cancel here is one there")


def check_kill(here: Caller, process: subprocess.Popen[bytes]) -> None:
    prediction = here.predict(LONG)
    wait_for("output", lambda: here.get(prediction)["output"])
    psutil.Process(process.pid).children()[0].kill()
    ended = here.end_of(prediction)
    text = "".join(ended["output"] or ())
    is_whole = ended["status"] == "succeeded" and text == WORDS
    is_failure = ended["status"] == "failed" and text != WORDS
    check(is_whole or is_failure, f"its peer killed in the middle, it {ended['status']}: {ended['error']}")


def run(python: str, folders: list[Path], stack: ExitStack) -> None:
    """Ends the script where something is not as it should be."""
    there_folder, here_folder = folders
    shared = {**UNLIMITED, "P2P_PYTHON": python, "P2P_SHARED_KEY": os.urandom(32).hex()}
    there_platform = start(there_folder, ("cpu",), **UNLIMITED)
    key = register_model(Caller(there_platform))
    listen = f"/ip4/127.0.0.1/tcp/{choose_port()}"
    serving = {**shared, "P2P_API_KEY": key, "P2P_NAME": "there", "P2P_LISTEN": listen}
    process = stack.enter_context(peer_process(there_platform, there_folder, serving))
    own = {
        "ENABLE_P2P": "true",
        "P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
        "P2P_BOOTSTRAP": address_of(there_folder),
    }
    here_platform = start(here_folder, ("cpu",), **shared, **own)
    here, there = Caller(here_platform), Caller(there_platform, key)
    wait_for("the peer", lambda: any(each["models"] for each in here.call("GET", "/v1/peers")["results"]))
    here.call("POST", "/v1/backends", {"name": "net", "kind": "p2p", "url": "peers:there"})
    body = {"visibility": "public", "models": [f"{model_owner(there)}/only-there"]}
    here.call("POST", "/v1/backends/net/sync", body)
    check_answers(here, there)
    check_cancel(here, there)
    check_kill(here, process)
    process.wait(20)
    stack.enter_context(peer_process(there_platform, there_folder, serving))
    again = here.end_of(here.predict({"text": "again"}))
    check(again["output"] == "again", "the peer started again, it answers again")


def model_owner(there: Caller) -> str:
    """Of the model that was registered."""
    models = there.call("GET", "/v1/models?limit=100")["results"]
    return str(next(each["owner"] for each in models if each["name"] == "only-there"))


def run_both(python: str) -> int:
    """The exit code. `python` has the packages of the extra."""
    folders = [Path(tempfile.mkdtemp(prefix=f"lovage-peers-{name}-")) for name in ("there", "here")]
    good = False
    with terminable():
        try:
            with ExitStack() as stack:
                run(python, folders, stack)
            good = True
        finally:
            for folder in folders:
                stop(folder)
                remove(folder, good=good)
    return 0


if __name__ == "__main__":
    sys.exit(run_both(sys.argv[1]))
