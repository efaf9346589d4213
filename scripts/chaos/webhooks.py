"""Thousands of webhook deliveries to a receiver that fails at random: `python -m scripts.chaos.webhooks`.

Runs of a model that sleeps rather than computes, so that what is compared is delay and not CPU: the receiver
and the courier share this machine's cores with everything else. A block of runs without webhooks goes before
and after the block with them. Exit code 1 when a webhook is missing, unsigned or changed between tries, or
runs with webhooks were more than 5 % slower.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook

from app.local.platform_state import Platform
from scripts.own_platform import UNLIMITED, judged

# Fourteen retries: at 30 % failures one delivery in 70 million runs out of tries.
RETRIES = ",".join(["1"] * 4 + ["2"] * 10)
SLOWER_AT_MOST = 0.05


@dataclass
class Tally:
    """What a receiver saw: `tries` by webhook-id, the ids it answered with success, and the bodies of
    completed predictions."""

    secret: str = ""
    failing: float = 0.3
    tries: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    bodies: dict[str, bytes] = field(default_factory=dict)
    unsigned: int = 0
    changed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, headers: dict[str, str], body: bytes, chance: float) -> int:
        """Checks one try and says which status it gets; `chance` in [0, 1) decides."""
        with self._lock:
            try:
                Webhook(self.secret).verify(body, headers)
            except Exception:  # noqa: BLE001 - whatever it is, the signature does not hold
                self.unsigned += 1
            message = headers["webhook-id"]
            self.tries[message] = self.tries.get(message, 0) + 1
            self.changed += self.bodies.setdefault(message, body) != body
            if chance < self.failing:
                return 500
            self.done.add(json.loads(body)["id"])
            return 200


@contextmanager
def receiver(tally: Tally) -> Iterator[str]:
    """Listens on loopback; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            named = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(tally.take(named, body, random.random()))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Callers:
    """`callers` at a time, each waiting for its model run of `seconds`."""

    client: httpx.Client
    callers: int
    seconds: float

    def block(self, runs: int, webhook: str | None) -> tuple[list[str], float]:
        """The ids of the predictions that succeeded, and runs per second."""
        began = time.monotonic()
        with ThreadPoolExecutor(self.callers) as threads:
            made = list(threads.map(lambda _: self._run(webhook), range(runs)))
        return [one for one in made if one], runs / (time.monotonic() - began)

    def _run(self, webhook: str | None) -> str | None:
        body: dict[str, Any] = {"version": "demo/echo", "input": {"text": "w", "seconds": self.seconds}}
        if webhook:
            body |= {"webhook": webhook, "webhook_events_filter": ["completed"]}
        made = (
            self.client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"})
            .raise_for_status()
            .json()
        )
        return str(made["id"]) if made["status"] == "succeeded" else None


def await_all(tally: Tally, ids: list[str], seconds: float) -> int:
    """Waits for every webhook; returns how many did not come."""
    until = time.monotonic() + seconds
    while (missing := len(set(ids) - tally.done)) and time.monotonic() < until:
        time.sleep(0.5)
    return missing


def measure(platform: Platform, arguments: argparse.Namespace) -> bool:
    """Prints what came of it; True when all is well."""
    key = Path(platform.key_file).read_text().strip()
    limits = httpx.Limits(max_connections=arguments.callers, max_keepalive_connections=arguments.callers)
    tally = Tally()
    with (
        httpx.Client(
            base_url=platform.api_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=90,
            trust_env=False,
            limits=limits,
        ) as client,
        receiver(tally) as url,
    ):
        tally.secret = client.get("/v1/webhooks/default/secret").raise_for_status().json()["key"]
        callers = Callers(client, arguments.callers, arguments.seconds)
        callers.block(arguments.callers * 2, None)  # warm
        plain = max(arguments.callers * 4, arguments.runs // 10)
        _, before = callers.block(plain, None)
        ids, told = callers.block(arguments.runs, url)
        missing = await_all(tally, ids, arguments.patience)
        _, after = callers.block(plain, None)
    return report(arguments.runs, tally, len(ids), missing, (before, told, after))


def report(runs: int, tally: Tally, succeeded: int, missing: int, rates: tuple[float, float, float]) -> bool:
    before, told, after = rates
    slower = 1 - told / ((before + after) / 2)
    again = sum(count - 1 for count in tally.tries.values())
    print(f"runs {runs}, succeeded {succeeded}, tries {sum(tally.tries.values())}, of them repeated {again}")
    print(f"webhooks missing {missing}, unsigned {tally.unsigned}, changed between tries {tally.changed}")
    print(
        f"runs per second: {before:.1f} without, {told:.1f} with, {after:.1f} without again; {slower:+.1%}"
        " slower"
    )
    return succeeded == runs and not (missing or tally.unsigned or tally.changed) and slower <= SLOWER_AT_MOST


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.webhooks", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="predictions with a webhook")
    parser.add_argument("--callers", type=int, default=64, help="callers that wait for their run")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a run sleeps")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="wait for the last webhooks, in seconds"
    )
    arguments = parser.parse_args()
    settings = {**UNLIMITED, "WEBHOOK_RETRY_SECONDS": RETRIES}
    return judged("lovage-webhooks-", lambda platform: measure(platform, arguments), **settings)


if __name__ == "__main__":
    sys.exit(main())
