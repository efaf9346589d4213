"""What the fleet can run is known to the API and searchable, broken files included; models on disk are
found."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from model_folders import safetensors
from sqlalchemy import delete

from app.db.session import Database
from app.db.tables import RuntimeRow
from app.runtimes import registry
from app.services.catalogue import runtime_index
from app.services.catalogue.runtime_index import RuntimeIndex

GOOD = """
from dataclasses import replace
from app.runtimes.echo import Echo
METADATA = {
    "model_id": "org/loud", "architecture": "LoudForCausalLM",
    "task": "text-generation", "hardware": ["cuda", "npu"]
}
class Loud(Echo):
    spec = replace(Echo.spec, name="loud", description="Shouts.")
"""


@pytest.fixture(autouse=True)
def nothing_is_left_behind(database: Database):
    yield
    registry.discover([])
    with database.unit() as session:
        session.execute(delete(RuntimeRow))


def found_in(folder: Path, database: Database) -> RuntimeIndex:
    """As a worker with this folder writes it at its start."""
    with database.unit() as session:
        runtime_index.write(session, registry.list_all([folder]))
    return RuntimeIndex(database)


def names(entries: list[runtime_index.Entry]) -> list[str]:
    return [one.name for one in entries]


def test_runtimes_are_found_by_task_hardware_and_words(tmp_path: Path, database: Database) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "hf_loud.py").write_text(GOOD)
    index = found_in(tmp_path, database)
    assert set(registry.BUILT_IN) | {"loud"} == set(names(index.find()))
    assert names(index.find(task="text-generation")) == ["loud", "text-generation"]
    assert names(index.find(task="text-generation", hardware="npu")) == ["loud", "text-generation"]
    assert names(index.find(task="text-generation", hardware="cpu")) == ["text-generation"]
    assert names(index.find(query="LoudForCausalLM SHOUTS")) == ["loud"]
    assert index.find(task="no-such-task") == []
    [loud] = index.find(query="org/loud", whole=True)
    assert (loud.model_id, loud.hardware, loud.origin) == (
        "org/loud",
        ("cuda", "npu"),
        str(tmp_path / "deep" / "hf_loud.py"),
    )


def test_a_broken_file_is_listed_with_its_error_until_it_is_mended(
    tmp_path: Path, database: Database
) -> None:
    file = tmp_path / "loud_runtime.py"
    file.write_text("TASK = 'text-generation'\nimport nothing_of_this_name")
    index = found_in(tmp_path, database)
    broken = index.find(task="text-generation", whole=True)[-1]
    assert (broken.name, broken.origin) == ("", str(file))
    assert "nothing_of_this_name" in broken.error
    public = index.find(task="text-generation")[-1]
    assert (public.origin, public.error) == ("loud_runtime.py", "cannot be imported")
    file.write_text(GOOD)
    assert [one.error for one in found_in(tmp_path, database).find(whole=True) if one.error] == []


def lovage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_lovage_discover_needs_no_platform(tmp_path: Path) -> None:
    (tmp_path / "hf_loud.py").write_text(GOOD)
    (tmp_path / "hf_broken.py").write_text("def")
    said = lovage("discover", "--json", RUNTIME_PATHS=str(tmp_path))
    found: list[dict[str, Any]] = json.loads(said.stdout)
    by_origin = {one["origin"]: one for one in found}
    assert by_origin[str(tmp_path / "hf_loud.py")]["name"] == "loud"
    assert "SyntaxError" in by_origin[str(tmp_path / "hf_broken.py")]["error"]
    shown = lovage(
        "discover", "--path", str(tmp_path), "--hardware", "npu", "--query", "shouts", COLUMNS="200"
    )
    assert "loud" in shown.stdout
    assert "embedding" not in shown.stdout
    nowhere = lovage("discover", "--path", str(tmp_path / "absent"))
    assert nowhere.returncode == 2
    assert nowhere.stderr.endswith("is not a folder\n")


def test_models_on_disk_are_found_with_what_would_run_them(tmp_path: Path) -> None:
    cached = tmp_path / "models--org--Talker" / "snapshots" / "c0ffee"
    pickled, parts = tmp_path / "old", tmp_path / "pipe" / "unet"
    for folder in (cached, pickled, parts):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    blobs = tmp_path / "models--org--Talker" / "blobs"
    blobs.mkdir()
    (blobs / "abc").write_bytes(safetensors())
    (cached / "model.safetensors").symlink_to("../../blobs/abc")
    (cached / "tokenizer.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    (parts / "diffusion.safetensors").write_bytes(safetensors())
    said = lovage("discover", "models", str(tmp_path), "--json")
    found = {one["name"]: one for one in json.loads(said.stdout)}
    assert sorted(found) == ["old", "pipe", "talker"]
    assert (found["talker"]["runtime"], found["talker"]["problem"]) == ("text-generation", "")
    assert found["talker"]["bytes"] == len(safetensors()) + len('{"architectures": ["GPT2LMHeadModel"]}{}')
    assert found["pipe"]["runtime"] == "image-generation"
    assert found["old"]["problem"].startswith("has pickled weights, which may run code: convert them")
    nothing = lovage("discover", "models", str(cached / ".."), "--task", "embedding")
    assert nothing.stdout.startswith("No models under")
