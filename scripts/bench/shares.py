"""`python -m scripts.bench.shares`: what users get of one worker beside each other.

Another user's flood: so many short predictions wait, and somebody else sends one: how long it waits before it
runs. Costs that differ: users whose predictions take log-normal times, all with more waiting than can be
served, and Jain's index of the seconds that each was served.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import httpx
import orjson
import psycopg2

from scripts.bench.http_load import Target, flood
from scripts.bench.stage import Line, Stage, show, stage
from scripts.own_platform import UNLIMITED

SECONDS = 0.02  # of one short prediction
CONNECTIONS = 32
SPREAD = 1.0  # sigma of the log-normal costs, between users and within each
LONGEST = 0.5  # seconds of one of these; a share is many times as much
PLENTY = 3.0  # times what a user can be served
MOST_SERVICE_TIMES, LEAST_INDEX = 2, 0.95
PASSWORD = "a password of a bench"  # of users who live as long as the bench does


def jain_index(shares: list[float]) -> float:
    """1 when all are equal, 1/n when one has everything (Jain, Chiu and Hawe, 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(frozen=True)
class Caller:
    """A user of the bench."""

    name: str
    target: Target

    def send(self, version: str, seconds: list[float]) -> None:
        """One prediction for each; returns when they are accepted."""
        requests = [
            self.target.request(
                "POST", "/v1/predictions", {"version": version, "input": {"text": "x", "seconds": each}}
            )
            for each in seconds
        ]
        asyncio.run(flood(self.target, requests, CONNECTIONS, 201))

    def wait_for_one(self, version: str) -> float:
        """Seconds between the acceptance of one short prediction and its run, and of the way to its
        reader."""
        body = {"version": version, "input": {"text": "x", "seconds": SECONDS}}
        request = self.target.request("POST", "/v1/predictions", body, Prefer="wait=60")
        _, _, [answer] = asyncio.run(flood(self.target, [request], 1, 201))
        metrics: dict[str, Any] = orjson.loads(answer)["metrics"]
        return float(metrics["total_time"] - metrics["run"])


def make_caller(on: Stage, name: str) -> Caller:
    """With an account of its own."""
    user = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    on.client.post("/v1/users", json=user).raise_for_status()
    login = {"username": name, "password": PASSWORD}
    with httpx.Client(base_url=on.client.base_url, trust_env=False) as client:
        token = client.post("/v1/auth/token", data=login).raise_for_status().json()["access_token"]
    return Caller(name, replace(on.target, headers={"Authorization": f"Bearer {token}"}))


def cancel_all(on: Stage, callers: list[Caller]) -> None:
    for caller in callers:
        while not on.client.post(f"/v1/users/{caller.name}/cancel").raise_for_status().json()["is_done"]:
            time.sleep(0.1)


def behind_a_flood(on: Stage, version: str, number: int, tries: int) -> Line:
    """How long one waits behind so many of somebody else."""
    flooding, other = make_caller(on, "flooding"), make_caller(on, "other")
    alone = median(other.wait_for_one(version) for _ in range(tries))
    flooding.send(version, [SECONDS] * number)
    waits = sorted(other.wait_for_one(version) for _ in range(tries))
    cancel_all(on, [flooding])
    bar = alone + MOST_SERVICE_TIMES * SECONDS
    return Line(
        f"one prediction behind {number:,} of another user: wait and way",
        f"p50 {median(waits) * 1000:.0f} ms, most {waits[-1] * 1000:.0f} ms",
        f"p50 ≤ {bar * 1000:.0f} ms: {MOST_SERVICE_TIMES} service times and the way",
        f"{alone * 1000:.0f} ms alone",
        is_missed=median(waits) > bar,
    )


SERVED = """
    SELECT u.username, sum((p.metrics ->> 'run')::float)
    FROM predictions AS p JOIN users AS u ON u.id = p.user_id
    WHERE p.status = 'succeeded' GROUP BY 1"""


def served(on: Stage) -> dict[str, float]:
    """Device seconds that users were given by now, all at one moment."""
    connection = psycopg2.connect(on.platform.database_url.replace("+psycopg2", ""))
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(SERVED)
        return dict(cursor.fetchall())


def make_costs(chance: random.Random, seconds: float) -> list[float]:
    """Of one user's predictions, so many that they take so long together."""
    usual, costs = SECONDS * chance.lognormvariate(0, SPREAD), list[float]()
    while sum(costs) < seconds:
        costs.append(min(LONGEST, usual * chance.lognormvariate(0, SPREAD)))
    return costs


def shared(on: Stage, version: str, users: int, seconds: float) -> Line:
    """What users are served whose predictions cost differently."""
    chance = random.Random(15)
    callers = [make_caller(on, f"user{place}") for place in range(users)]
    for caller in callers:
        caller.send(version, make_costs(chance, PLENTY * seconds / users))
    before = served(on)
    time.sleep(seconds)
    after = served(on)
    cancel_all(on, callers)
    shares = [after.get(caller.name, 0.0) - before.get(caller.name, 0.0) for caller in callers]
    index = jain_index(shares)
    return Line(
        f"Jain's index of device seconds, {users} users, log-normal costs, {seconds:.0f} s",
        f"{index:.3f} ({min(shares):.2f} to {max(shares):.2f} s each)",
        f"≥ {LEAST_INDEX}",
        is_missed=index < LEAST_INDEX,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.shares", description=__doc__)
    parser.add_argument("--flood", type=int, default=10_000, help="predictions that wait")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="to look at the users for")
    options = parser.parse_args()
    with stage(**UNLIMITED) as on:
        model = {"name": "shared", "visibility": "public"}
        version = {"runtime": "echo", "config": {"max_batch_size": 1}}
        answer = on.client.post("/v1/models", json={**model, "version": version}).raise_for_status().json()
        id_of_version = str(answer["latest_version"]["id"])
        on.predict(id_of_version, {"text": "x"})
        lines = [behind_a_flood(on, id_of_version, options.flood, 10)]
        lines.append(shared(on, id_of_version, options.users, options.seconds))
    return show(lines)


if __name__ == "__main__":
    sys.exit(main())
