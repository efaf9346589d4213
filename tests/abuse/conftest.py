"""One live API process in production's settings and one worker for the whole table."""

import subprocess
from collections.abc import Iterator
from dataclasses import asdict

import httpx
import pytest
import redis
from abuse_stage import MODEL, Stage, start
from rows_files import model_of_pictures
from sqlalchemy import text
from waiting import eventually

from app.db import runtimes
from app.db.session import Database
from app.db.tables import Base
from app.local.embedded import Urls
from app.local.ports import choose_port
from app.runtimes import registry

SECRET = "a-secret-of-the-abuse-table-" + "x" * 20
STARTED_WITHIN = 60  # seconds; on a busy machine


@pytest.fixture(scope="module")
def stage(servers: Urls, pool: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("abuse")
    roots = folder / "roots"
    roots.mkdir()
    _begin_empty(servers, pool)
    running: list[subprocess.Popen[bytes]] = []
    env = {
        "LOVAGE_ENV": "production",
        "LOVAGE_DATA_DIR": str(folder),
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "SECRET_KEY": SECRET,
        "MODEL_ROOTS": str(roots),
        "RATE_LIMIT_CALLS": "400/minute",
        "RATE_LIMIT_CREATES": "5000/minute",
        "RATE_LIMIT_REGISTRATIONS": "off",
        "ALLOW_REGISTRATION": "true",
        "MODEL_THREADS": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }

    def begin(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        running.append(start([name, *arguments], env, folder / f"{name}.log"))
        return running[-1]

    port = choose_port()
    api, worker = begin("api", "--port", str(port)), begin("worker", "--device", "cpu")
    opened = Stage(f"http://127.0.0.1:{port}", api.pid, SECRET, pool, roots, lambda: _alive(worker, pool))
    try:
        eventually(lambda: _answers(opened.url, api), STARTED_WITHIN)
        _furnish(opened)
        yield opened
    finally:
        opened.close()
        for process in running:
            process.kill()
            process.wait(10)


def _begin_empty(servers: Urls, pool: Database) -> None:
    names = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with pool.unit() as session:
        session.execute(text(f"TRUNCATE {names} CASCADE"))
        runtimes.put(session, {spec.name: asdict(spec) for spec in registry.specs()})
    with redis.Redis.from_url(servers.redis_url) as connection:
        connection.flushall()


def _answers(url: str, api: subprocess.Popen[bytes]) -> bool:
    assert api.poll() is None, "the API did not start"
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _alive(worker: subprocess.Popen[bytes], pool: Database) -> int:
    def lives() -> bool:
        assert worker.poll() is None, "the worker did not start"
        with pool.unit() as session:
            return bool(session.scalar(text("SELECT count(*) FROM workers WHERE stopped_at IS NULL")))

    eventually(lives, STARTED_WITHIN)
    return int(worker.pid)


def _furnish(stage: Stage) -> None:
    """Two users and an administrator; a public model, and one with a text prompt."""
    ada, _ = stage.person("ada"), stage.person("grace")
    echo = {"name": MODEL.partition("/")[2], "visibility": "public", "version": {"runtime": "echo"}}
    words = {"owner": "demo", "name": "words", "visibility": "public", "version": {"source": "path:words"}}
    admin = stage.person("root", admin=True)
    for person, model in ((ada, echo), (admin, words)):
        answer = person.post("/v1/models", model)
        assert answer.status == 201, answer
    model_of_pictures(stage)  # here, because it takes longer than a row may
