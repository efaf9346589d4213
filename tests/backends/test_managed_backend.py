"""Servers that a gateway starts itself: real processes, started when they are needed, watched, and ended with
whoever started them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import eventually

from app.backends import engine_recipe, keeper, kept_process, managed_server, startable_engine
from app.backends.base import BackendAddress, BackendCall, Machine
from app.backends.engine_recipe import SHIPPED, parse
from app.backends.managed_server import ManagedServer
from app.domain.backend_retry import UpstreamFailed
from app.domain.work import Finished
from app.local.ports import choose_port
from app.memory_reservations import MemoryReservations
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient

# Speaks as much of OpenAI's API as is needed; a child of its own stands for a server's workers.
SERVER = """
import http.server, json, os, subprocess, sys
port, key = int(sys.argv[1]), os.environ["SERVER_KEY"]
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("serving", sys.argv[2:], "child", child.pid, flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, value):
        if self.headers["Authorization"] != f"Bearer {key}":
            self.send_response(401); self.end_headers(); return
        data = json.dumps(value).encode()
        self.send_response(200); self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data))); self.end_headers(); self.wfile.write(data)
    def do_GET(self):
        self.answer({"data": [{"id": "tiny", "max_model_len": 7}]})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["input"] == ["die"]:
            os._exit(3)
        self.answer({"data": [{"index": 0, "embedding": [len(body["input"][0]), os.getpid()]}]})
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
RECIPE = """
command = [{python!r}, "-I", "-S", {script!r}, "{{port}}", "{{model}}", "--size={{size}}"]
environment = {{ SERVER_KEY = "{{key}}" }}
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startable_engine, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(managed_server, "IDLE_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(managed_server, "FIRST_REST_SECONDS", 0.05)
    monkeypatch.setattr(kept_process, "GRACE_SECONDS", 2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a machine with one recipe of its own."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    (tmp_path / "engines").mkdir()
    recipe = RECIPE.format(python=sys.executable, script=str(script))
    (tmp_path / "engines" / "own.toml").write_text(recipe)
    return tmp_path


def managed(folder: Path, url: str = "engine:own", free: int = 10**12, **options: Any) -> ManagedServer:
    machine = Machine(folder, "here", lambda _: free, lambda _: 10**12, choose_port)
    address = BackendAddress(url, options={"model": "tiny", **options}, name="gpu", machine=machine)
    return ManagedServer(address, AsyncGuardedClient(AddressPolicy(allow_private=True)))


async def embed(server: ManagedServer, text: str) -> list[int]:
    async for event in server.run(BackendCall("tiny", "embedding", {"text": text})):
        if isinstance(event, Finished):
            return list(event.output)
    raise AssertionError("no ending")


async def start(server: ManagedServer) -> None:
    ready = asyncio.Event()
    server.on_ready = ready.set
    server.want()
    async with asyncio.timeout(15):
        await ready.wait()


def run(server: ManagedServer, steps: Callable[[ManagedServer], Awaitable[None]]) -> None:
    async def all_steps() -> None:
        try:
            await steps(server)
        finally:
            await server.close()

    asyncio.run(all_steps())


def children_of(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_it_is_started_when_it_is_needed_and_again_when_it_ends_and_leaves_nothing(folder: Path) -> None:
    reservations = MemoryReservations(folder / "engines")

    async def steps(server: ManagedServer) -> None:
        await server.check()
        assert [each.name for each in await server.list_models()] == ["tiny"]
        assert server.not_ready == managed_server.STOPPED
        assert children_of(os.getpid()) == before
        await start(server)
        started.update(children_of(os.getpid()) - before)
        assert len(started) == 3  # a keeper, the server, and the child that has left its group
        assert not server.not_ready
        length, pid = await embed(server, "four")
        assert (length, pid in started) == (4, True)
        assert [each.context_length for each in await server.list_models()] == [7]
        log = (folder / "logs" / "engine-gpu.log").read_text()
        assert log.startswith("serving ['tiny', '--size=3'] child")
        assert reservations.bytes_on("cuda:0", used_only=True) == 5_000
        assert reservations.bytes_on("cpu") == 0
        await check_another_gateway(folder)
        ready = asyncio.Event()
        server.on_ready = ready.set
        with pytest.raises(UpstreamFailed):
            await embed(server, "die")
        async with asyncio.timeout(15):
            await ready.wait()
        assert (await embed(server, "x"))[1] not in started
        started.update(children_of(os.getpid()) - before)

    before, started = children_of(os.getpid()), set[int]()
    run(managed(folder, values={"size": 3}, device="cuda:0", memory_bytes=5_000), steps)
    assert len(started) == 6
    assert not [pid for pid in started if is_alive(pid)]
    assert reservations.list_all() == []


async def check_another_gateway(folder: Path) -> None:
    """A machine has each server once."""
    other = managed(folder)
    other.want()
    async with asyncio.timeout(15):
        while "another gateway worker" not in other.not_ready:
            await asyncio.sleep(0.01)
    await other.close()


def test_one_that_cannot_start_rests_and_its_probe_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managed_server, "FIRST_REST_SECONDS", 60.0)
    (folder / "server.py").write_text("raise SystemExit('no such weights')\n")

    async def steps(server: ManagedServer) -> None:
        server.want()
        async with asyncio.timeout(15):
            while "started again" not in server.not_ready:
                await asyncio.sleep(0.01)
        with pytest.raises(UpstreamFailed, match="ended with 1: no such weights"):
            await server.check()

    run(managed(folder), steps)


def test_it_is_stopped_when_nothing_has_needed_it(folder: Path) -> None:
    async def steps(server: ManagedServer) -> None:
        await start(server)
        _, pid = await embed(server, "x")
        async with asyncio.timeout(15):
            while server.not_ready != managed_server.STOPPED or is_alive(pid):
                await asyncio.sleep(0.01)

    run(managed(folder, keep_alive=0.1), steps)


def test_without_room_it_is_not_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startable_engine, "ROOM_SECONDS", 0.05)

    async def steps(server: ManagedServer) -> None:
        server.want()
        async with asyncio.timeout(15):
            while "has no room: it needs 5,000 bytes, 10 are free on cuda:0" not in server.not_ready:
                await asyncio.sleep(0.01)

    run(managed(folder, device="cuda:0", memory_bytes=5_000, free=10), steps)


def test_what_a_killed_gateway_has_started_ends(tmp_path: Path) -> None:
    server = tmp_path / "server.sh"  # deaf to polite signals, with a child that has left its group
    server.write_text("trap '' TERM\nsetsid sleep 600 &\necho serving\nwait\nsleep 600\n")
    command = [sys.executable, "-I", "-S", keeper.__file__, str(tmp_path / "log"), "0.1", "sh", str(server)]
    script = f"import subprocess, time; subprocess.Popen({command!r}, stdin=subprocess.PIPE); time.sleep(600)"
    gateway = subprocess.Popen([sys.executable, "-I", "-S", "-c", script])
    eventually(lambda: len(children_of(gateway.pid)) == 3)
    started = children_of(gateway.pid)
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    eventually(lambda: not [pid for pid in started if is_alive(pid)])
    assert (tmp_path / "log").read_text() == "serving\n"


def test_recipes_fill_their_gaps_and_refuse_values_that_are_for_nothing() -> None:
    given = {"port": 1, "key": "k", "model": "a/b", "memory_share": 0.5}
    command, environment = SHIPPED["vllm"].filled({**given, "context_length": 4096})
    assert command[:3] == ["vllm", "serve", "a/b"]
    assert {"--port=1", "--gpu-memory-utilization=0.5", "--max-model-len=4096"} < set(command)
    assert not [argument for argument in command if "{" in argument]
    assert environment["VLLM_API_KEY"] == "k"
    for recipe in SHIPPED.values():
        assert "1" in "".join([*recipe.filled(given)[0], *recipe.filled(given)[1].values()])
    with pytest.raises(UpstreamFailed, match="no gap for the value trust_remote_code"):
        SHIPPED["vllm"].check({"trust_remote_code": "1"})
    with pytest.raises(UpstreamFailed, match="begins with a dash"):
        SHIPPED["vllm"].filled({"model": "--trust-remote-code"})


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({}, "'command' must be a list of texts"),
        ({"command": ["a", 1]}, "'command' must be a list of texts"),
        ({"command": ["a"], "speaks": "cli"}, "'speaks' must be one of"),
        ({"command": ["a"], "shell": "x"}, "'shell' is not known"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(stored: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(stored)


def test_an_unknown_recipe_and_a_missing_program_are_named(folder: Path) -> None:
    with pytest.raises(UpstreamFailed, match=r"known are: llama\.cpp, ollama, own, "):
        engine_recipe.find("other", folder)
    (folder / "engines" / "odd.toml").write_text("command = [\n")
    with pytest.raises(UpstreamFailed, match=r"cannot be read: odd\.toml"):
        engine_recipe.find("odd", folder)
    (folder / "engines" / "away.toml").write_text('command = ["no-such-program-here"]\n')
    with pytest.raises(UpstreamFailed, match="needs the program no-such-program-here"):
        asyncio.run(managed(folder, "engine:away").check())


def test_a_server_sees_one_device_and_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "ours")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    seen = engine_recipe.environment_of(Path("/venv/bin"), {"OWN": "1"})
    assert "SECRET_KEY" not in seen
    assert seen["PATH"].startswith("/venv/bin:")
    assert engine_recipe.visible_device("cuda:1", seen) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert engine_recipe.visible_device("cpu", seen) == {}
