"""A mixed load over the public API, remembered prediction by prediction, and a receiver for its webhooks."""

import json
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks.webhooks import Webhook

from app.domain.predictions import TERMINAL

GIVE_UP_SECONDS = 60.0  # a caller repeats a request with the same Idempotency-Key for so long


@dataclass
class Sent:
    """One prediction as its caller knows it: it is to answer its own `text`, in pieces, as a file or as it
    is."""

    id: str
    text: str
    at: float
    ended: dict[str, Any] | None = None
    canceled: bool = False  # by its caller


class Receiver:
    """Keeps the bodies of completed webhooks by id; `unsigned` counts those whose signature does not verify.

    `mode`: "" answers 200, "500" and "302" with that status (the redirect to `trap`), "slow" after two
    seconds, "drip" a byte of a header now and then without end, "down" not at all: nobody listens.
    """

    def __init__(self) -> None:
        self.completed: dict[str, set[str]] = {}
        self.unsigned = self.trapped = self.changed = 0
        self.secret = ""
        self.mode = ""
        self._bodies: dict[str, bytes] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                mode = (
                    outer.mode
                )  # looked at once: what is kept and what is answered must agree while it changes
                if self.path == "/trap":
                    outer.trapped += 1
                if mode == "slow":
                    time.sleep(2)
                outer.take(dict(self.headers), body, kept=mode in ("", "slow"))
                if mode == "drip":
                    self._drip()
                    return
                self.send_response({"500": 500, "302": 302, "down": 503}.get(mode, 200))
                if mode == "302":
                    self.send_header("location", outer.url.replace("/hook", "/trap"))
                self.send_header("content-length", "0")
                self.end_headers()

            def _drip(self) -> None:
                self.close_connection = True
                with suppress(OSError):  # it is given up
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
                    while outer.mode == "drip":
                        self.wfile.write(b"a")
                        time.sleep(0.1)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler

    def take(self, headers: dict[str, str], body: bytes, *, kept: bool) -> None:
        """Checks a delivery; `kept`: it is answered with success."""
        try:
            Webhook(self.secret).verify(body, headers)
        except Exception:  # noqa: BLE001 - whatever it is, the signature does not hold
            self.unsigned += 1
        message = {name.lower(): value for name, value in headers.items()}["webhook-id"]
        if self._bodies.setdefault(message, body) != body:
            self.changed += 1
        found = json.loads(body)
        if kept and found["status"] in TERMINAL:
            self.completed.setdefault(found["id"], set()).add(message)

    def go_down(self) -> None:
        """Nobody listens on the port any more."""
        self.server.shutdown()
        self.server.server_close()

    def come_back(self) -> None:
        """On the same port."""
        self.server = ThreadingHTTPServer(self.server.server_address[:2], self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Load:
    """Callers that post until `stop`, each prediction with a text of its own. `others`: what other users post
    meanwhile; `is_flood`: short ones as fast as the callers can; `pause`: the most seconds that a caller
    rests between two others; `model` takes the text as its input `text_input`."""

    url: str
    key: str
    receiver: Receiver
    callers: int = 8
    sent: list[Sent] = field(default_factory=list)
    refused: int = 0
    doubled: int = 0
    storm: bool = False  # everything is canceled at once
    is_flood: bool = False
    pause: float = 0.1
    model: str = "demo/echo"
    text_input: str = "text"
    others: list["Load"] = field(default_factory=list)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=15, trust_env=False
        )

    def start(self) -> None:
        with self.client() as client:
            self.receiver.secret = client.get("/v1/webhooks/default/secret").json()["key"]
        self._threads = [
            threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(self.callers)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, seed: int) -> None:
        chance = random.Random(seed)
        with self.client() as client:
            while not self._stop.is_set():
                text = uuid4().hex
                given: dict[str, Any] = {self.text_input: text}
                kind = 0.5 if self.is_flood else chance.random()
                if kind < 0.15:
                    given["seconds"] = chance.uniform(0.5, 3)
                elif kind < 0.3:
                    given |= {"chunks": 5, "seconds": 0.5}
                elif kind < 0.35:
                    given["file"] = True
                self._post(client, given, cancel=self.storm or kind > 0.95)
                time.sleep(0 if self.is_flood else chance.uniform(0, self.pause))

    def _post(self, client: httpx.Client, given: dict[str, Any], *, cancel: bool) -> None:
        """Posts until it is accepted, as a careful caller does: the same key, so that no try makes a second
        prediction."""
        body = {
            "version": self.model,
            "input": given,
            "webhook": self.receiver.url,
            "webhook_events_filter": ["completed"],
        }
        key, until = uuid4().hex, time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < until:
            try:
                answer = client.post("/v1/predictions", json=body, headers={"Idempotency-Key": key})
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if answer.status_code == 201:
                made = answer.json()
                self.sent.append(Sent(made["id"], given[self.text_input], time.monotonic(), canceled=cancel))
                if cancel:
                    self._cancel(client, made["id"])
                return
            time.sleep(0.2)
        self.refused += 1

    @staticmethod
    def _cancel(client: httpx.Client, prediction_id: str) -> None:
        try:
            client.post(f"/v1/predictions/{prediction_id}/cancel")
        except httpx.HTTPError:
            return

    def another_user(self, model: str = "demo/echo", text_input: str = "text") -> "Load":
        """The load of a new account, as a flood."""
        name = f"user{uuid4().hex[:8]}"
        with self.client() as client:
            asked = {"username": name, "email": f"{name}@example.com"}
            password = client.post("/v1/users", json=asked).raise_for_status().json()["password"]
            token = client.post("/v1/auth/token", data={"username": name, "password": password})
        key = token.raise_for_status().json()["access_token"]
        flood = Load(self.url, key, Receiver(), is_flood=True, model=model, text_input=text_input)
        self.others.append(flood)
        return flood

    def settle(self, seconds: float) -> None:
        """Waits until every prediction has ended, or the time is over."""
        until = time.monotonic() + seconds
        with self.client() as client:
            while time.monotonic() < until:
                open_ = [one for one in self.sent if one.ended is None]
                if not open_:
                    return
                for one in open_:
                    self._look(client, one)
                time.sleep(0.2)

    def count_doubled(self) -> None:
        """What was made more than once of one request: a text belongs to one, however often its caller had to
        repeat it."""
        texts: Counter[str] = Counter()
        page, asked = "/v1/predictions", {"created_after": self.began.isoformat()}
        with self.client() as client:
            while page:
                found = _read_page(client, page, asked)
                texts.update(one["input"][self.text_input] for one in found["results"])
                page, asked = found["next"], {}
        self.doubled = texts.total() - len(texts)

    @staticmethod
    def _look(client: httpx.Client, one: Sent) -> None:
        try:
            answer = client.get(f"/v1/predictions/{one.id}")
            if answer.status_code == 404:
                one.ended = {"status": "lost"}
            elif answer.status_code == 200 and answer.json()["status"] in TERMINAL:
                one.ended = read_whole(client, answer.json())
        except httpx.HTTPError:
            return


def _read_page(client: httpx.Client, page: str, asked: dict[str, str]) -> dict[str, Any]:
    """Of a list; a database that is away, or comes back and has much to do, is given time. Raises
    httpx.HTTPError."""
    until = time.monotonic() + GIVE_UP_SECONDS
    while (answer := client.get(page, params=asked or None)).status_code == 503 and time.monotonic() < until:
        time.sleep(1)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def read_whole(client: httpx.Client, ended: dict[str, Any]) -> dict[str, Any]:
    """The prediction with its output as one text: pieces are joined, a file is read."""
    output = ended["output"]
    if isinstance(output, list):
        output = "".join(output)
    elif isinstance(output, str) and output.startswith("http"):
        output = client.get(output).text
    return ended | {"output": output}
