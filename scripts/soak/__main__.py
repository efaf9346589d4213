"""`make soak`: 15 minutes at 70 % of what this machine can do; what every process holds must stay flat.

Finds the capacity by a short burst, then sends at a steady rate, and looks at each process (heap,
descriptors) and at Postgres' connections every few seconds. Exit code 1 when after the warm-up any heap grew
by more than 1 % in ten minutes, the least number of open descriptors or connections rose by more than one, a
prediction did not succeed, or a process was replaced by another.
"""

import argparse
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import psycopg2
from rich.console import Console
from rich.table import Table

from app.local.platform_state import Platform
from scripts.own_platform import UNLIMITED, judged
from scripts.soak.slopes import Sample, after, risen, slope

SHARE = 0.7
GROWTH = 0.01
CALLERS = 64  # in the burst, too: what so many at once need of memory is then taken before the watch begins
LOOK_SECONDS = 5.0
ONE = 1  # a pool may come to need one more connection
CONNECTIONS = "connections of Postgres"


@dataclass
class Watch:
    """Looks at all processes of a platform until `stop`."""

    platform: Platform
    seen: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def _port(self) -> int:
        return int(self.platform.api_url.rpartition(":")[2])

    def run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(LOOK_SECONDS):
            self._look(time.monotonic() - began)

    def stop(self) -> None:
        self._stop.set()

    def _look(self, at: float) -> None:
        launcher = psutil.Process(self.platform.pid)
        for one in (launcher, *launcher.children(recursive=True)):
            try:
                name = _name(one)
                if name:
                    self.seen[name].append(Sample(at, own_bytes(one.pid), own_descriptors(one, self._port)))
            except (psutil.Error, OSError):
                continue
        self.seen[CONNECTIONS].append(Sample(at, float(_connections(self.platform.database_url)), 0.0))


def own_bytes(pid: int) -> float:
    """The process's share (PSS) of memory that no file holds: heap and stacks. Its share of the libraries'
    files changes with whoever else on the machine has them open."""
    parts = ("Pss_Anon:", "Pss_Shmem:")
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) * 1024 for line in lines if line.startswith(parts))


def own_descriptors(process: psutil.Process, port: int) -> float:
    """What is open without the connections of callers to the API's port, which are the callers' to hold or to
    close."""
    opened = set(os.listdir(f"/proc/{process.pid}/fd"))
    callers = (
        one
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
    )
    return float(len(opened - {str(one.fd) for one in callers}))


def _name(process: psutil.Process) -> str:
    """What the process is, with its id. Postgres' own children come and go with connections, which are
    counted apart."""
    words = process.cmdline()
    if not words or words[0].startswith("postgres:"):
        return ""
    told = words[words.index("-m") + 1 :] if "-m" in words else [Path(words[0]).name]
    return f"{' '.join(word for word in told[:3] if not word.startswith('-'))[:40]} {process.pid}"


def _connections(url: str) -> int:
    with (
        closing(psycopg2.connect(url.replace("+psycopg2", ""), connect_timeout=5)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        [(number,)] = cursor.fetchall()
        return int(number)


class Clients(threading.local):
    """A client for each calling thread, with one connection that stays open."""

    def __init__(self, platform: Platform) -> None:
        head = {"Authorization": f"Bearer {Path(platform.key_file).read_text().strip()}"}
        limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
        self.http = httpx.Client(
            base_url=platform.api_url, headers=head, timeout=90, trust_env=False, limits=limits
        )


def one_run(clients: Clients) -> str:
    """Creates a prediction and waits for it; "" when it succeeded, else what came instead."""
    body = {"version": "demo/echo", "input": {"text": "soak"}}
    try:
        made = clients.http.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"})
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if made.status_code != 201:
        return f"{made.status_code}: {made.text[:300]}"
    return "" if made.json()["status"] == "succeeded" else f"{made.json()['status']}: {made.json()['error']}"


def capacity(clients: Clients, seconds: float) -> float:
    """Runs per second with all callers busy."""
    began, done = time.monotonic(), 0
    with ThreadPoolExecutor(CALLERS) as threads:
        while time.monotonic() - began < seconds:
            done += sum(not wrong for wrong in threads.map(one_run, [clients] * CALLERS * 4))
    return done / (time.monotonic() - began)


def steady(clients: Clients, rate: float, seconds: float) -> tuple[int, Counter[str]]:
    """Sends at `rate` a second, less while every caller is busy: nothing piles up here. Returns (sent, what
    went wrong)."""
    began, waiting = time.monotonic(), list[Future[str]]()
    sent, wrong = 0, Counter[str]()
    with ThreadPoolExecutor(CALLERS) as threads:
        while (now := time.monotonic() - began) < seconds:
            while sent < now * rate and len(waiting) < CALLERS:
                waiting.append(threads.submit(one_run, clients))
                sent += 1
            done = [one for one in waiting if one.done()]
            wrong.update(one.result() for one in done)
            waiting = [one for one in waiting if one not in done]
            time.sleep(0.02)
    wrong.update(one.result() for one in waiting)
    del wrong[""]
    return sent, wrong


def show(seen: dict[str, list[Sample]], warm_up: float, length: float) -> bool:
    """Prints the slopes; True when all are flat and every process was there throughout."""
    table = Table(
        "what",
        "first",
        "last",
        "in 10 min",
        "open (files, connections)",
        "floor rose by",
        "verdict",
        title="soak",
    )
    good = True
    for name, samples in sorted(seen.items()):
        late = after(samples, warm_up)
        steadily = (
            bool(late) and late[0].at < warm_up + 4 * LOOK_SECONDS and late[-1].at > length - 4 * LOOK_SECONDS
        )
        times = [one.at for one in late]
        counted = name == CONNECTIONS
        held = [one.bytes if counted else one.descriptors for one in late]
        grew, opened = 0.0 if counted else slope(times, [one.bytes for one in late]), risen(held)
        fine = steadily and grew <= GROWTH and opened <= ONE
        good &= fine
        first, last = (f"{late[n].bytes / 1e6:,.1f} MB" if late and not counted else "-" for n in (0, -1))
        actions = "ok" if fine else "GROWS" if steadily else "CAME OR WENT"
        span = f"{min(held):.0f} to {max(held):.0f}" if held else "-"
        table.add_row(name, first, last, "-" if counted else f"{grew:+.2%}", span, f"{opened:+.0f}", actions)
    Console(width=150).print(table)
    return good


def soak(platform: Platform, minutes: float, warm_up: float) -> bool:
    """Prints what came of it; True when all is well."""
    clients = Clients(platform)
    most = capacity(clients, 15)
    print(f"capacity {most:.0f} runs a second; {minutes:g} minutes at {SHARE * most:.0f}", flush=True)
    watch = Watch(platform)
    looking = threading.Thread(target=watch.run, daemon=True)
    looking.start()
    sent, wrong = steady(clients, SHARE * most, minutes * 60)
    watch.stop()
    looking.join()
    print(f"sent {sent}, succeeded {sent - wrong.total()}")
    for reason, times in wrong.most_common(10):
        print(f"  {times} times: {reason}")
    return show(watch.seen, warm_up * 60, minutes * 60) and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long")
    parser.add_argument("--warm-up", type=float, default=5.0, help="minutes at the start that are not judged")
    arguments = parser.parse_args()
    if not 0 <= arguments.warm_up < arguments.minutes:
        parser.error("--warm-up must be shorter than --minutes")
    return judged(
        "lovage-soak-", lambda platform: soak(platform, arguments.minutes, arguments.warm_up), **UNLIMITED
    )


if __name__ == "__main__":
    sys.exit(main())
