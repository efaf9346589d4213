"""Deploys are invisible: an API process and a worker are asked to stop under load, and no caller is
refused or loses anything.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx
import psycopg2
from broken_platform import BrokenPlatform, echo, succeeded
from waiting import eventually


@dataclass
class Balanced:
    """Callers behind a load balancer: it asks /ready of each process ten times a second and sends them where
    that is 200."""

    platform: BrokenPlatform
    urls: list[str]
    ready: list[str] = field(default_factory=list)
    unready_at: float = 0.0
    created: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Balanced":
        self.ready = list(self.urls)
        self._threads = [
            threading.Thread(target=self._ask),
            *(threading.Thread(target=self._call, args=(n,)) for n in range(8)),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.1):
            ready = [url for url in self.urls if self._is_ready(url)]
            if len(ready) < len(self.urls) and not self.unready_at:
                self.unready_at = time.monotonic()
            self.ready = ready

    @staticmethod
    def _is_ready(url: str) -> bool:
        try:
            return httpx.get(f"{url}/ready", trust_env=False, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def _call(self, number: int) -> None:
        clients = {url: self.platform.client(url) for url in self.urls}
        count = number
        while not self._over.wait(0.02):
            count += 1
            client = clients[self.ready[count % len(self.ready)]]
            try:
                answer = echo(client, f"{number}-{count}")
            except httpx.HTTPError as error:
                self.wrong.append(repr(error))
                continue
            if answer.status_code != 201:
                self.wrong.append(answer.text)
            else:
                self.created.append(answer.json()["id"])
        for client in clients.values():
            client.close()


class Stream:
    """Reads a prediction's stream in a thread; `cleanly` says that the server ended it in good order."""

    def __init__(self, url: str, after: str = "") -> None:
        self.pieces: list[str] = []
        self.last, self.done, self.cleanly = after, False, False
        self._thread = threading.Thread(target=self._read, args=(url,))
        self._thread.start()

    def _read(self, url: str) -> None:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
            event = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    self.last = value
                elif name == "data" and event == "output":
                    self.pieces.append(value)
                self.done = self.done or event == "done"
        self.cleanly = True

    def wait(self) -> "Stream":
        self._thread.join(40)
        return self


def test_an_api_process_leaves_without_a_caller_noticing(platform: BrokenPlatform) -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(60))
    with (
        platform.another_api() as (url, process),
        platform.client(url) as leaving,
        platform.client() as staying,
    ):
        streamed = echo(staying, text, chunks=60, seconds=15).json()
        token = streamed["urls"]["stream"].rpartition("/")[2]
        stream = Stream(f"{url}/v1/streams/{token}")
        open_calls = [waiting(leaving, seconds=4), waiting(leaving, seconds=30)]
        with Balanced(platform, [platform.state.api_url, url]) as callers:
            eventually(lambda: len(callers.created) > 100 and stream.pieces)
            signal_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            ended_after = time.monotonic() - signal_at
            eventually(lambda: len(callers.created) > 300)
        short, long = (call.answer() for call in open_calls)
        assert callers.wrong == []
        assert 0 < callers.unready_at - signal_at < 2, "/ready says so while everything is still served"
        assert ended_after < 13, f"{ended_after:.1f} s"
        assert (short.status_code, short.json()["status"]) == (201, "succeeded"), "open requests end"
        assert (long.status_code, long.json()["status"]) == (
            201,
            "starting",
        ), "a long wait is answered with what there is"
        assert stream.wait().cleanly
        assert not stream.done
        rest = Stream(streamed["urls"]["stream"], stream.last).wait()
        assert rest.done
        assert "".join(stream.pieces + rest.pieces) == text, "no piece is lost or doubled"
        eventually(lambda: succeeded(staying, callers.created[-50:]))
        print(
            f"{len(callers.created)} calls, unready after {callers.unready_at - signal_at:.2f} s, ended after"
            f" {ended_after:.1f} s"
        )


class Row(NamedTuple):
    """A prediction in the database; `pid` of the worker that has it, or had it last."""

    status: str
    attempt: int
    crashes: int
    pid: int | None


class waiting:  # noqa: N801 - reads as a verb
    """A create that waits for its end, in a thread."""

    def __init__(self, client: httpx.Client, seconds: float) -> None:
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=self._run, args=(client, seconds))
        self._thread.start()

    def _run(self, client: httpx.Client, seconds: float) -> None:
        body = {"version": "demo/echo", "input": {"text": "x", "seconds": seconds}}
        self._answers.append(
            client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}, timeout=70)
        )

    def answer(self) -> httpx.Response:
        self._thread.join(40)
        return self._answers[0]


def rows(platform: BrokenPlatform, ids: list[str]) -> dict[str, Row]:
    """What Postgres knows of these predictions."""
    with (
        psycopg2.connect(platform.state.database_url.replace("+psycopg2", "")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT p.id, p.status, p.attempt, p.crashes, w.pid FROM predictions p LEFT JOIN workers w ON"
            " w.id = p.worker WHERE p.id = ANY(%s)",
            (ids,),
        )
        return {name: Row(*values) for name, *values in cursor.fetchall()}


def test_a_stopping_worker_ends_what_runs_and_hands_the_rest_back_at_once(
    platform: BrokenPlatform,
) -> None:
    """Its grace is 4 s here. Of a model that runs one at a time, all but one wait; two long ones outlast the
    grace."""
    with platform.client() as client:
        version = {"runtime": "echo", "config": {"max_batch_size": 1, "routing": "affinity"}}
        client.post(
            "/v1/models", json={"owner": "admin", "name": "one-by-one", "version": version}
        ).raise_for_status()
        body = {"version": "admin/one-by-one", "input": {"seconds": 2}}
        short = [client.post("/v1/predictions", json=body).raise_for_status().json()["id"] for _ in range(12)]
        long = [echo(client, "x", seconds=40).json()["id"] for _ in range(4)]
        held = eventually(lambda: all_claimed(rows(platform, short + long)))
        pid, _ = Counter(held[name].pid for name in short if held[name].status == "processing").most_common(
            1
        )[0]
        mine = {name for name, row in held.items() if row.pid == pid}
        assert pid is not None

        def there() -> set[str]:
            return {
                name
                for name, row in rows(platform, short).items()
                if row.pid == pid and row.status == "processing"
            }

        assert len(there()) >= 2, "too few wait there for this to tell anything"
        os.kill(pid, signal.SIGTERM)
        signal_at = time.monotonic()
        eventually(lambda: len(there()) <= 1, 10)
        handed_back = time.monotonic() - signal_at
        assert handed_back < 8, f"{handed_back:.1f} s"
        eventually(
            lambda: all(
                row.attempt == 2 and row.pid not in (None, pid) for row in of(platform, mine & set(long))
            ),
            45,
        )
        moved = time.monotonic() - signal_at
        eventually(lambda: succeeded(client, short), 90)
        ended = rows(platform, short)
        assert any(ended[name].attempt == 1 and ended[name].pid == pid for name in mine & set(short)), (
            "what ran ended there"
        )
        assert {row.crashes for row in of(platform, short + long)} == {0}, "nobody is blamed"
        for prediction in long:
            client.post(f"/v1/predictions/{prediction}/cancel").raise_for_status()
    print(
        f"{len(mine)} held; handed back after {handed_back:.1f} s, the long ones begin elsewhere after"
        f" {moved:.1f} s"
    )


def all_claimed(held: dict[str, Row]) -> dict[str, Row]:
    return held if all(row.status in ("processing", "succeeded") for row in held.values()) else {}


def of(platform: BrokenPlatform, ids: Iterable[str]) -> list[Row]:
    return list(rows(platform, list(ids)).values())
