"""Postgres and Valkey stopped (their kernel still takes bytes, nobody answers) and dead: what callers are
told, and how soon."""

import signal
import threading
import time

import httpx
from broken_platform import BrokenPlatform, Timed, echo, median_seconds, side_by_side, succeeded, timed
from waiting import eventually

CREATES = 15


def valkey(platform: BrokenPlatform):  # type: ignore[no-untyped-def]
    return platform.family.server("valkey-server")[0]


def works_without_redis(platform: BrokenPlatform) -> None:
    """Creates are quick, what was created is run, and the stream and /ready say what is away."""
    lines: list[str] = []
    with platform.client() as client:
        slow = echo(client, "x" * 40, chunks=40, seconds=6).json()
        reader = threading.Thread(target=read_lines, args=(slow["urls"]["stream"], lines))
        reader.start()
        made: list[Timed] = []
        for n in range(CREATES):
            made.append(timed(lambda n=n: echo(client, f"t{n}")))
            time.sleep(0.1)
        assert {one.answer.status_code for one in made} == {201}
        assert median_seconds(made) <= 0.2, f"median {median_seconds(made):.3f} s"
        began = time.monotonic()
        eventually(lambda: succeeded(client, [one.answer.json()["id"] for one in made]), 20)
        print(
            f"created in {median_seconds(made) * 1000:.0f} ms (median), run within"
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
        until, found = time.monotonic() + 6, []
        with platform.client() as http:
            while time.monotonic() < until:
                found.append(timed(lambda: calls[number % len(calls)](http)))
                time.sleep(0.2)
        return found

    each = side_by_side(*(lambda n=n: keep_calling(n) for n in range(32)))
    refused = [one for found in each for one in found]
    assert {one.answer.status_code for one in refused} == {503}
    assert all(int(one.answer.headers["retry-after"]) > 0 for one in refused)
    longest = max(one.seconds for one in refused)
    assert longest < 5, f"{longest:.1f} s"
    for one in platform.stopped:
        one.resume()
    began = time.monotonic()
    with platform.client() as client:
        again = eventually(lambda: (made := echo(client, "after")).status_code == 201 and made, 10)
        healthy = time.monotonic() - began
        eventually(lambda: succeeded(client, [again.json()["id"]]))
    print(f"{len(refused)} refused, the slowest in {longest:.1f} s; healthy after {healthy:.1f} s")
