"""The database of the commit before, in the middle of its work, is migrated and goes on.

`data/before_0009.sql` is what a platform left whose worker and courier were killed: see
data/write_database.py. The times in it are moved, so that the platform seems to have stood still for ten
minutes.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
import redis
from standardwebhooks import Webhook
from waiting import eventually

from app.local.embedded import Urls
from app.local.ports import choose_port

DUMP = Path(__file__).parent / "data" / "before_0009.sql"
STOOD_STILL = "10 minutes"
STARTED_WITHIN = 60  # seconds; on a busy machine
pytestmark = pytest.mark.timeout(300)  # four processes start

ENDED = ("succeeded", "failed", "canceled")

MOVE_TIMES = """
DO $$
DECLARE
    moved_by interval := now() - timestamptz '{at}' - interval '{stood_still}';
    spot record;
BEGIN
    FOR spot IN SELECT table_name, column_name FROM information_schema.columns
                WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
    LOOP
        EXECUTE format('UPDATE public.%1$I SET %2$I = %2$I + $1', spot.table_name, spot.column_name)
        USING moved_by;
    END LOOP;
END $$
"""


@dataclass
class Receiver:
    """Webhooks that arrived: body and headers by id."""

    url: str
    arrived: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Answers every webhook with 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            arrived.arrived[headers["webhook-id"]] = (body, headers)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Standard error stays empty."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        arrived = Receiver(f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield arrived
        server.shutdown()
        thread.join()


@dataclass
class Upgraded:
    """The platform on the migrated database. `facts`: see data/write_database.py."""

    facts: dict[str, Any]
    http: httpx.Client
    webhooks: Receiver

    def show(self, name: str) -> dict[str, Any]:
        """The prediction that the old platform called `name`."""
        answer = self.http.get(f"/v1/predictions/{self.facts['ids'][name]}")
        answer.raise_for_status()
        return dict(answer.json())

    def ended(self, name: str) -> dict[str, Any]:
        """The same, once it has ended."""
        eventually(lambda: self.show(name)["status"] in ENDED)
        return self.show(name)


def load_dump(servers: Urls, receiver_address: str) -> tuple[str, dict[str, Any]]:
    """The URL of a new database with the dump in it, and the dump's facts."""
    name = f"upgraded_{uuid4().hex[:8]}"
    first, _, statements = DUMP.read_text("utf-8").partition("\n")
    facts = json.loads(first.removeprefix("-- "))
    server = servers.database_url.replace("+psycopg2", "")
    _execute(server, f"CREATE DATABASE {name}")
    database = server.rpartition("/")[0] + f"/{name}"
    _execute(database, statements.replace(facts["receiver"], receiver_address))
    _execute(database, MOVE_TIMES.format(at=facts["at"], stood_still=STOOD_STILL))
    return servers.database_url.rpartition("/")[0] + f"/{name}", facts


def _execute(url: str, statements: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statements)
    connection.close()


@contextmanager
def lovage(env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lovage …` as a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "app", *arguments], env={**os.environ, **env})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def upgraded(servers: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """Migrated by the command, then served by an API, a worker, a courier and a clock."""
    with redis.Redis.from_url(servers.redis_url) as connection:
        connection.flushall()
    with ExitStack() as stack:
        webhooks = stack.enter_context(receiver())
        database_url, facts = load_dump(servers, webhooks.url)
        env = {
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis_url,
            "LOVAGE_DATA_DIR": str(tmp_path_factory.mktemp("upgraded")),
            "LOVAGE_ENV": "development",
            "SECRET_KEY": "a-secret-of-the-upgrade-" + "x" * 20,
            "ALLOW_PRIVATE_ADDRESSES": "true",
            "SWEEP_SECONDS": "0.5",
            "MODEL_THREADS": "1",
        }
        subprocess.run([sys.executable, "-m", "app", "migrate"], env={**os.environ, **env}, check=True)
        port = choose_port()
        api = stack.enter_context(lovage(env, "api", "--port", str(port)))
        for arguments in (("worker", "--device", "cpu"), ("worker", "--courier"), ("clock",)):
            stack.enter_context(lovage(env, *arguments))
        headers = {"Authorization": f"Bearer {facts['key']}"}
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=90, trust_env=False)
        stack.enter_context(http)
        eventually(lambda: _answers(http, api), STARTED_WITHIN)
        yield Upgraded(facts, http, webhooks)


def _answers(http: httpx.Client, api: subprocess.Popen[bytes]) -> bool:
    assert api.poll() is None, "the API did not start"
    try:
        return http.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_people_sign_in_as_before(upgraded: Upgraded) -> None:
    assert upgraded.http.get("/v1/account").json()["username"] == "ada"
    form = {"username": "ada", "password": upgraded.facts["password"]}
    assert upgraded.http.post("/v1/auth/token", data=form).status_code == 200


def test_models_and_deployments_are_there(upgraded: Upgraded) -> None:
    for path in ("/v1/models/ada/echo", "/v1/models/ada/secret", "/v1/deployments/ada/fast"):
        assert upgraded.http.get(path).status_code == 200
    answer = upgraded.http.post(
        "/v1/deployments/ada/fast/predictions",
        json={"input": {"text": "new"}},
        headers={"Prefer": "wait=60"},
    )
    assert (answer.json()["status"], answer.json()["output"]) == ("succeeded", "new")


def test_what_had_ended_reads_as_before(upgraded: Upgraded) -> None:
    assert upgraded.show("succeeded")["output"] == "Grüße, 世界 🙂"
    assert upgraded.show("pieces")["output"] == ["one ", "two ", "three"]
    assert upgraded.show("failed")["error"] == "echo failed as it should"
    assert upgraded.show("canceled")["status"] == "canceled"


def test_an_idempotency_key_still_names_its_prediction(upgraded: Upgraded) -> None:
    body = {"version": "ada/echo", "input": {"text": "once"}}
    answer = upgraded.http.post("/v1/predictions", json=body, headers={"Idempotency-Key": "once"})
    assert answer.json()["id"] == upgraded.facts["ids"]["once"]


@pytest.mark.parametrize("name", ["waiting", "deployed", "handed back", "unsent"])
def test_what_waited_runs_to_its_end(upgraded: Upgraded, name: str) -> None:
    ended = upgraded.ended(name)
    assert (ended["status"], ended["output"]) == ("succeeded", ended["input"]["text"])


def test_what_ran_on_a_worker_that_is_gone_is_run_again(upgraded: Upgraded) -> None:
    ended = upgraded.ended("running")
    assert (ended["status"], ended["output"]) == ("succeeded", "running")


def test_a_cancel_that_no_worker_saw_is_honoured(upgraded: Upgraded) -> None:
    assert upgraded.ended("stopping")["status"] == "canceled"


@pytest.mark.parametrize(
    ("name", "event", "why"),
    [
        ("failed", "completed", "its first try was answered 503"),
        ("leased", "completed", "its courier was killed while it waited for an answer"),
        ("due", "completed", "no courier was left"),
        ("running", "completed", "it ends only now"),
        ("waiting", "start", "it begins only now"),
    ],
)
def test_webhooks_under_way_arrive_and_are_signed(
    upgraded: Upgraded, name: str, event: str, why: str
) -> None:
    webhook_id = f"msg_{upgraded.facts['ids'][name]}_{event}"
    body, headers = eventually(lambda: upgraded.webhooks.arrived.get(webhook_id))
    Webhook(upgraded.facts["webhook_secret"]).verify(body, headers)
    assert json.loads(body)["id"] == upgraded.facts["ids"][name]


def test_a_delivered_webhook_is_not_sent_again(upgraded: Upgraded) -> None:
    for name in ("failed", "leased", "due"):  # the courier has been through what was due
        eventually(
            lambda name=name: f"msg_{upgraded.facts['ids'][name]}_completed" in upgraded.webhooks.arrived
        )
    assert f"msg_{upgraded.facts['ids']['succeeded']}_completed" not in upgraded.webhooks.arrived
