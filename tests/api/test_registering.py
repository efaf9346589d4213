"""A hub that answers slowly, or never, is the matter of those who register its models."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from api_people import Person, Server
from dripping import dripping
from waiting import eventually


def register(server: Server, person: Person, name: str) -> int:
    body = {"name": name, "version": {"source": "hf:a/b"}}
    return httpx.post(
        f"{server.url}/v1/models", json=body, headers=person.http.headers, timeout=60
    ).status_code


def test_slow_looks_at_the_hub_keep_nobody_from_signing_in_and_no_probe_waiting(
    start_server: Callable[..., Server], make_person: Callable[..., Person]
) -> None:
    people = [make_person() for _ in range(2)]
    with ThreadPoolExecutor(6) as threads:
        with dripping(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n") as url:
            server = start_server(hf_endpoint=url.removesuffix("/x"), api_threads=4)
            calls = [threads.submit(register, server, people[n % 2], f"m{n}") for n in range(6)]
            eventually(lambda: sum(call.done() for call in calls) >= 2)
            began = time.monotonic()
            assert httpx.get(f"{server.url}/ready", timeout=5).status_code == 200
            signed_in = {"username": people[0].name, "password": "correct horse battery"}
            assert httpx.post(f"{server.url}/v1/auth/token", data=signed_in, timeout=5).status_code == 200
            assert register_echo(server, people[0]) == 201
            assert time.monotonic() - began < 5
            assert [call.result() for call in calls if call.done()] == [429] * 2, (
                "each may register two at once"
            )
        assert sorted(call.result() for call in calls) == [429] * 2 + [503] * 4


def register_echo(server: Server, person: Person) -> int:
    body = {"name": "echo", "version": {"runtime": "echo"}}
    return httpx.post(
        f"{server.url}/v1/models", json=body, headers=person.http.headers, timeout=5
    ).status_code
