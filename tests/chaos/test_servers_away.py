"""Postgres and Valkey stopped (their kernel still takes bytes, nobody answers) and dead: what callers are
answered, and how soon."""

import itertools
import signal
import threading
import time

import httpx
import pytest
from broken_platform import BrokenPlatform, Timed, echo, median_seconds, side_by_side, succeeded, timed
from waiting import eventually

from scripts.chaos.faults import make_read_only

CREATES = 15
READ_ONLY_SECONDS, BACK_SECONDS = 60.0, 5.0


def valkey(platform: BrokenPlatform):  # type: ignore[no-untyped-def]
    return platform.family.server("valkey-server")[0]


def works_without_redis(platform: BrokenPlatform) -> None:
    """Creates are quick, what was created is run, and the stream and /ready say what is away."""
    lines: list[str] = []
    with platform.client() as client:
        slow = echo(client, "x" * 40, chunks=40, seconds=6).json()
        reader = threading.Thread(target=read_lines, args=(slow["urls"]["stream"], lines))
        reader.start()
        creates: list[Timed] = []
        for n in range(CREATES):
            creates.append(timed(lambda n=n: echo(client, f"t{n}")))
            time.sleep(0.1)
        assert {create.answer.status_code for create in creates} == {201}
        assert median_seconds(creates) <= 0.2, f"median {median_seconds(creates):.3f} s"
        began = time.monotonic()
        eventually(lambda: succeeded(client, [create.answer.json()["id"] for create in creates]), 20)
        print(
            f"created in {median_seconds(creates) * 1000:.0f} ms (median), run within"
            f" {time.monotonic() - began:.1f} s"
        )
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "cannot be reached")
        assert client.get("/health").status_code == 200
        reader.join(40)
    assert any(line.startswith(": Redis cannot be reached") for line in lines)
    assert sum(line == "data: x" for line in lines) == 40
    assert "event: done" in lines


def read_lines(url: str, lines: list[str]) -> None:
    with httpx.stream("GET", url, timeout=60, trust_env=False) as answer:
        lines.extend(answer.iter_lines())


def test_a_stopped_valkey_delays_nobody(platform: BrokenPlatform) -> None:
    platform.stop(valkey(platform))
    works_without_redis(platform)


def test_a_dead_valkey_delays_nobody(platform: BrokenPlatform) -> None:
    platform.stop(platform.launcher)  # or it would start another
    valkey(platform).send_signal(signal.SIGKILL)
    works_without_redis(platform)


def test_a_stopped_postgres_is_a_503_within_seconds_and_soon_forgotten(platform: BrokenPlatform) -> None:
    with platform.client() as client:
        known = echo(client, "before").json()["id"]
        eventually(lambda: succeeded(client, [known]))
    server = platform.family.server("postgres")[0]
    platform.stop(server, *server.children(recursive=True))
    calls = [
        lambda http: echo(http, "x"),
        lambda http: http.get(f"/v1/predictions/{known}"),
        lambda http: http.get("/v1/predictions"),
        lambda http: http.get("/v1/models"),
    ]

    def keep_calling(number: int) -> list[Timed]:
        until, answers = time.monotonic() + 6, []
        with platform.client() as http:
            while time.monotonic() < until:
                answers.append(timed(lambda: calls[number % len(calls)](http)))
                time.sleep(0.2)
        return answers

    each = side_by_side(*(lambda n=n: keep_calling(n) for n in range(32)))
    refused = list(itertools.chain.from_iterable(each))
    assert {call.answer.status_code for call in refused} == {503}
    assert all(int(call.answer.headers["retry-after"]) > 0 for call in refused)
    longest = max(call.seconds for call in refused)
    assert longest < 5, f"{longest:.1f} s"
    for process in platform.stopped:
        process.resume()
    began = time.monotonic()
    with platform.client() as client:
        again = eventually(lambda: (answer := echo(client, "after")).status_code == 201 and answer, 10)
        healthy = time.monotonic() - began
        eventually(lambda: succeeded(client, [again.json()["id"]]))
    print(f"{len(refused)} refused, the slowest in {longest:.1f} s; healthy after {healthy:.1f} s")


@pytest.mark.timeout(300)
def test_a_valkey_that_takes_no_write_for_a_minute_loses_nothing_and_is_back_within_seconds(
    platform: BrokenPlatform,
) -> None:
    """As a primary that fails over: three streams and two callers go on, no process ends."""
    processes = {process.pid for word in ("worker", "courier", "api") for process in platform.family.of(word)}
    texts: list[list[str]] = [[], [], []]
    with platform.client() as client:
        slow = [echo(client, "x" * 90, chunks=90, seconds=READ_ONLY_SECONDS).json() for _ in texts]
        readers = [
            threading.Thread(target=read_lines, args=(each["urls"]["stream"], lines))
            for each, lines in zip(slow, texts, strict=True)
        ]
        for reader in readers:
            reader.start()
        breaker = threading.Thread(target=make_read_only, args=(platform.family, READ_ONLY_SECONDS))
        breaker.start()
        created = []
        while breaker.is_alive():
            answers = side_by_side(lambda: echo(client, "during"), lambda: echo(client, "during"))
            assert [answer.status_code for answer in answers] == [201, 201]
            created += [answer.json()["id"] for answer in answers]
            time.sleep(0.5)
        began = time.monotonic()
        again = client.post(
            "/v1/predictions",
            json={"version": "demo/echo", "input": {"text": "after"}},
            headers={"Prefer": "wait"},
        )
        back = time.monotonic() - began
        assert (again.json()["status"], back <= BACK_SECONDS) == ("succeeded", True), back
        eventually(lambda: succeeded(client, [*created, *(each["id"] for each in slow)]), 60)
        for reader in readers:
            reader.join(60)
    assert [sum(line == "data: x" for line in lines) for lines in texts] == [90, 90, 90]
    assert processes <= {process.pid for process in platform.family.all()}
    print(f"{len(created)} created while nothing could be written; back after {back:.1f} s")
