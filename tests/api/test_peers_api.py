"""What administrators see of peers, and the process's own command where it cannot run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_people import Person, Server
from fake_upstream import FakeUpstream, Writer, send_json
from typer.testing import CliRunner, Result

from app.backends.peer_door import DOOR_FILE, PEER_FOLDER
from app.cli import app as lovage
from app.settings import Settings

PEER = {
    "id": "12D3KooW" + "a" * 44,
    "name": "other",
    "state": "reachable",
    "addresses": ["/ip4/10.0.0.7/tcp/4001"],
    "models": [{"name": "ada/words", "version": "1" * 64, "task": "words", "streams": True}],
    "running": 1,
    "limit": 8,
    "in_flight": 1,
    "calls": 4,
    "failures": 1,
    "last_failure": "broke off",
    "silent_seconds": 0.5,
}
OWN = {"id": "12D3KooW" + "b" * 44, "name": "own", "addresses": [], "offers": [], "running": 0, "limit": 0}


@pytest.fixture
def admin(make_person: Callable[..., Person]) -> Person:
    return make_person(admin=True)


def test_peers_are_for_administrators_and_say_why_there_are_none(admin: Person, ada: Person) -> None:
    assert ada.http.get("/v1/peers").status_code == 403
    answer = admin.http.get("/v1/peers").json()
    assert "lovage peer" in answer["error"]
    assert (answer["id"], answer["results"]) == ("", [])


def test_where_peers_are_off_the_command_says_so(
    start_server: Callable[..., Server], admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOVAGE_URL", start_server(enable_p2p=False).url)
    monkeypatch.setenv("LOVAGE_TOKEN", admin.key)
    result = CliRunner().invoke(lovage, ["peers"])
    assert (result.exit_code, "ENABLE_P2P" in result.stderr) == (1, True)


@pytest.fixture
def peer_door(api_settings: Settings) -> Iterator[FakeUpstream]:
    """A peer process's door in the platform's folder."""

    async def answer(_: FakeUpstream, __: str, ___: dict[str, Any], writer: Writer) -> None:
        await send_json(writer, {**OWN, "peers": [PEER]})

    folder = api_settings.lovage_data_dir / PEER_FOLDER
    folder.mkdir(exist_ok=True)
    upstream = FakeUpstream(handlers={"/peers": answer}).start()
    upstream.switches.key = "token"
    (folder / DOOR_FILE).write_text(json.dumps({"url": upstream.url, "token": "token"}))
    yield upstream
    (folder / DOOR_FILE).unlink()
    upstream.stop()


def test_what_the_peer_process_knows_is_shown(
    admin: Person, peer_door: FakeUpstream, run_as: Callable[[Person], Callable[..., Result]]
) -> None:
    answer = admin.http.get("/v1/peers").json()
    assert answer == {**OWN, "error": "", "results": [PEER]}
    shown = run_as(admin)("peers").output
    assert "other" in shown
    assert "reachable" in shown
    peer_door.switches.key = "another"
    assert "answered 401" in admin.http.get("/v1/peers").json()["error"]


def test_a_peer_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOVAGE_ENV", "development")
    nobody = CliRunner().invoke(lovage, ["peer"])
    assert nobody.exit_code == 2
    assert "P2P_ALLOWED_PEERS or P2P_SHARED_KEY" in nobody.output
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setenv("P2P_SHARED_KEY", "ab" * 32)
    monkeypatch.setenv("P2P_PYTHON", str(bare))
    missing = CliRunner().invoke(lovage, ["peer"])
    assert missing.exit_code == 2
    assert "pip install 'lovage[p2p]'" in missing.output
