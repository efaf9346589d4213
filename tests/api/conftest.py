"""One API process (uvicorn in a thread of the test process) over real Postgres and Valkey, emptied before
each test."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis
import uvicorn
from api_hand_worker import HandWorker
from api_people import Person, Server, bearer
from replicate.client import Client
from typer.testing import CliRunner, Result

from app.api.protocol import BoundedHttp
from app.cli import app as lovage
from app.db import runtimes
from app.main import create_app
from app.runtimes import registry, schema
from app.runtimes.text.text_generation import PICTURES
from app.services.people.access import SCOPES
from app.settings import Settings

numbers = itertools.count(1)
NO_TLS = ssl.create_default_context()  # one for all clients: each makes its own otherwise, in 20 ms
# What OpenAI's calls send, and what a version's defaults make of it: chunks, seconds, failures.
INPUTS = schema.inputs(
    {
        "prompt": schema.text("", max_length=100_000),
        "messages": schema.array({"type": "object"}, "", max_items=10),
        "text": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "max_new_tokens": schema.integer("", minimum=1, maximum=9),
        "chunks": schema.integer("", minimum=0, maximum=100, default=2),
        "seconds": schema.number("", minimum=0, maximum=100, default=0),
        "fail": schema.boolean("", default=False),
        "code": schema.text("", default="model_failed"),
        "answer": {"type": "array", "items": {}, "default": []},
        "finish_reason": schema.text("", default=""),
        "tools": schema.array({"type": "object"}, "", max_items=100),
        "tool_choice": schema.text(""),
        "parallel_tool_calls": schema.boolean(""),
        "logprobs": schema.integer("", minimum=0, maximum=20),
        "parse_response": schema.boolean(""),
    }
)
TALKER = {
    "name": "talker",
    "description": "",
    "inputs": {"": INPUTS},
    "outputs": {"": schema.chunks_of_text()},
    "streams": True,
    "needs_source": False,
    "config": {},
}


@pytest.fixture(scope="session")
def api_settings(servers, tmp_path_factory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("api")
    roots = folder / "roots"
    roots.mkdir()
    return Settings(
        lovage_env="development",
        lovage_data_dir=folder,
        database_url=servers.database_url,
        redis_url=servers.redis_url,
        secret_key="a-secret-of-the-tests-" + "x" * 20,
        model_roots=str(roots),
        max_upload_bytes=2_000_000,
        max_body_bytes=1_000_000,
        principal_cache_seconds=0,
        allow_private_addresses=False,
        enable_p2p=True,
        access_log=False,  # it would be in what the command line prints
        rate_limit_creates="",
        rate_limit_calls="",
        rate_limit_registrations="",
    )


@pytest.fixture(scope="session")
def start_server(api_settings) -> Iterator[Callable[..., Server]]:
    """Starts API processes; `start_server(allow_anonymous=True)` one with another setting."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**changes) -> Server:
        settings = api_settings.model_copy(update=changes)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            create_app(settings), http=BoundedHttp, log_level="warning", lifespan="on", proxy_headers=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            time.sleep(0.01)
        running.append((server, thread))
        return Server(f"http://127.0.0.1:{listener.getsockname()[1]}", server.config.app)

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def api(start_server) -> Server:
    return start_server()


@pytest.fixture(autouse=True)
def nobody_is_limited(servers) -> None:
    """What earlier tests have counted for this machine's address is forgotten."""
    with redis.Redis.from_url(servers.redis_url) as connection:
        for key in connection.scan_iter("lovage:limits*"):
            connection.delete(key)


@pytest.fixture(autouse=True)
def empty_tables(database) -> None:
    with database.unit() as session:
        names = {
            "echo",
            "text-generation",
            "embedding",
            "pipeline",
            "python",
            "pair-scoring",
            "image-generation",
        }
        runtimes.put(session, {spec.name: asdict(spec) for spec in registry.specs() if spec.name in names})


@pytest.fixture
def make_person(api) -> Iterator[Callable[..., Person]]:
    """A user with a key of the given scopes (all by default)."""
    people: list[Person] = []

    def make(
        name: str = "", *, admin: bool = False, scopes: tuple[str, ...] = (), server: Server | None = None
    ) -> Person:
        name = name or f"user{next(numbers)}"
        services = (server or api).services
        user = services.people.accounts.create(
            f"{name}@example.com", name, "correct horse battery", is_admin=admin
        )
        allowed = scopes or (SCOPES if admin else ("predict", "models"))
        key = services.people.keys.issue(user.id, "test", list(allowed)).secret
        http = httpx.Client(base_url=(server or api).url, headers=bearer(key), timeout=30, verify=NO_TLS)
        people.append(Person(name, user.id, key, http))
        return people[-1]

    yield make
    for person in people:
        person.http.close()


@pytest.fixture
def ada(make_person) -> Person:
    return make_person("ada")


@pytest.fixture
def bob(make_person) -> Person:
    return make_person("bob")


@pytest.fixture
def admin(make_person) -> Person:
    return make_person("root", admin=True)


@pytest.fixture
def replicate_client(api) -> Iterator[Callable[[Person], Client]]:
    """The real `replicate` 1.x client with a person's key."""
    clients: list[Client] = []

    def make(person: Person) -> Client:
        clients.append(Client(api_token=person.key, base_url=api.url))
        return clients[-1]

    yield make
    for client in clients:
        client._client.close()  # it has no `close` of its own


@pytest.fixture
def echo(ada) -> dict:
    """A public model of Ada's that answers its input."""
    return ada.model("echo", visibility="public")


@pytest.fixture
def worker(api_settings) -> Iterator[HandWorker]:
    with HandWorker(api_settings) as hand_worker:
        yield hand_worker


@pytest.fixture
def anonymous(api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=30) as client:
        yield client


@pytest.fixture
def talker_runtime(database) -> None:
    """Workers offer a runtime that talks."""
    with database.unit() as session:
        runtimes.put(session, {"talker": TALKER})


@pytest.fixture
def talker(talker_runtime, ada: Person) -> Callable[..., str]:
    """`talker(fail=True)`: a model whose defaults are such; its name."""
    numbers = itertools.count()

    def make(**defaults: Any) -> str:
        changes = {"properties": {name: {"default": value} for name, value in defaults.items()}}
        name = f"talker{next(numbers)}"
        ada.model(name, runtime="talker", input_schema=changes)
        return f"ada/{name}"

    return make


@pytest.fixture
def seer(database, ada: Person) -> str:
    """A model that talks and takes pictures; its name."""
    inputs = {"": {**INPUTS, "properties": INPUTS["properties"] | PICTURES}}
    with database.unit() as session:
        runtimes.put(session, {"talker": {**TALKER, "inputs": inputs}})
    ada.model("seer", runtime="talker", input_schema={"properties": {"chunks": {"default": 0}}})
    return "ada/seer"


@pytest.fixture
def remote() -> Iterator[Callable[..., openai.OpenAI]]:
    opened: list[openai.OpenAI] = []

    def make(server: Server, person: Person | None) -> openai.OpenAI:
        client = openai.OpenAI(
            api_key=person.key if person else "lov_wrong",
            base_url=f"{server.url}/v1",
            max_retries=0,
            http_client=httpx.Client(trust_env=False, timeout=30),
        )
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def run_as(api: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[Person], Callable[..., Result]]:
    """`lovage …` with a person's key; `typed` is what the person types."""

    def of_person(person: Person) -> Callable[..., Result]:
        def run(*arguments: str, typed: str = "") -> Result:
            monkeypatch.setenv("LOVAGE_URL", api.url)
            monkeypatch.setenv("LOVAGE_TOKEN", person.key)
            return CliRunner().invoke(lovage, arguments, input=typed, env={"COLUMNS": "200"})

        return run

    return of_person
