"""A worker that was stopped past its lease and wakes up: it writes nothing, and works on under a new identity."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from platform_under_test import UpPlatform, eventually, wait_all

from app.db.session import Database, connect

SPEEDS = {"HEARTBEAT_SECONDS": "0.5", "DEAD_AFTER_SECONDS": "3", "SWEEP_SECONDS": "0.5", "WORKERS_ON_HOST": "2"}
ROW = "SELECT status, output::text, attempt, crashes, worker, completed_at, metrics::text FROM predictions WHERE id = %s"
HOOKS = "SELECT id, body, tries, delivered_at FROM deliveries WHERE prediction_id = %s ORDER BY id"


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[UpPlatform]:
    for name, value in SPEEDS.items():
        monkeypatch.setenv(name, value)
    folder = Path(tempfile.mkdtemp(prefix="lovage-zombie-"))
    platform = UpPlatform.in_folder(folder)
    ports = ("--port", str(platform.port), "--flower-port", str(platform.flower_port))
    try:
        platform.lovage("up", "--detach", "--workers", "2", *ports)
        yield platform
    finally:
        platform.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def truth(two_workers: UpPlatform) -> Iterator[Database]:
    database = Database(connect(two_workers.state.database_url, pool=2, application="zombie-test"))
    yield database
    database.close()


@pytest.fixture
def told() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook receiver: its URL and what came."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    server.server_close()


def rows(database: Database, query: str, *params: Any) -> list[tuple[Any, ...]]:
    with database.unit() as session:
        return [tuple(row) for row in session.connection().exec_driver_sql(query, params)]


def holder(database: Database, prediction: str) -> tuple[Any, int] | None:
    """(Worker's identity, its process id), once somebody runs the prediction."""
    query = "SELECT w.id, w.pid FROM workers w JOIN predictions p ON p.worker = w.id WHERE p.id = %s AND p.status = 'processing'"
    found = rows(database, query, prediction)
    return found[0] if found else None


def files(platform: UpPlatform) -> set[str]:
    return {str(one) for one in (platform.folder / "storage").rglob("*") if one.is_file()}


def test_a_woken_worker_writes_nothing_and_works_on_under_a_new_name(
    two_workers: UpPlatform, truth: Database, told: tuple[str, list[bytes]]
) -> None:
    url, got = told
    with two_workers.client() as client:
        given = {"text": "once", "seconds": 4, "file": True}
        made = client.post(
            "/v1/predictions",
            json={"version": "demo/echo", "input": given, "webhook": url, "webhook_events_filter": ["completed"]},
        ).json()["id"]
        old, pid = eventually(lambda: holder(truth, made))
        os.kill(pid, signal.SIGSTOP)
        try:
            [ended] = wait_all(client, [made], 90)
            assert ended["status"] == "succeeded"
            eventually(lambda: rows(truth, HOOKS, made)[0][3], 30)
            before = rows(truth, ROW, made), rows(truth, HOOKS, made), files(two_workers), list(got)
            [(_, _, attempt, _, winner, _, _)] = before[0]
            assert attempt == 2, "another worker took it again"
            assert winner != old
        finally:
            os.kill(pid, signal.SIGCONT)
        renewed = "SELECT id FROM workers WHERE pid = %s AND id <> %s AND stopped_at IS NULL"
        eventually(lambda: rows(truth, renewed, pid, old), 30)
        assert psutil.pid_exists(pid)
        new = rows(truth, renewed, pid, old)[0][0]
        more = [_post(client, {"text": f"n{n}", "seconds": 1}) for n in range(40)]
        assert {one["status"] for one in wait_all(client, more)} == {"succeeded"}
        eventually(lambda: _worked(client, truth, new), 60)
        assert (rows(truth, ROW, made), rows(truth, HOOKS, made), got) == (before[0], before[1], before[3])
        kept = {one for one in files(two_workers) if made in one}
        assert {one for one in before[2] if made in one} == kept


def _post(client: Any, given: dict[str, Any]) -> str:
    return str(client.post("/v1/predictions", json={"version": "demo/echo", "input": given}).json()["id"])


def _worked(client: Any, database: Database, worker: Any) -> bool:
    wait_all(client, [_post(client, {"text": "again", "seconds": 0.2}) for _ in range(10)])
    return bool(rows(database, "SELECT 1 FROM predictions WHERE worker = %s AND status = 'succeeded' LIMIT 1", worker))
