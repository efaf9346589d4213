"""Runtimes that are found in folders: each file is reported, and a broken one costs nobody anything but
itself."""

import sys
from pathlib import Path

import pytest

from app.domain.errors import NotFound
from app.runtimes import registry

GOOD = """
from dataclasses import replace
from app.runtimes.echo import Echo
METADATA = {"model_id": "org/loud", "task": "text-generation", "hardware": ["cuda", "cpu"]}
ARCHITECTURE = "EchoForCausalLM"
class Loud(Echo):
    spec = replace(Echo.spec, name="NAME")
class _Hidden(Echo):
    spec = replace(Echo.spec, name="hidden")
"""


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    yield
    registry.discover([])


def test_files_are_found_at_any_depth_with_their_metadata(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "hf_loud.py").write_text(GOOD.replace("NAME", "loud"))
    (tmp_path / "deep" / "loud_runtime.py").write_text(GOOD.replace("NAME", "louder"))
    (tmp_path / "unrelated.py").write_text("raise SystemExit")
    found = {one.spec.name: one for one in registry.discover([tmp_path]) if one.spec}
    assert sorted(found) == ["loud", "louder"]
    assert found["loud"].metadata == {
        "model_id": "org/loud",
        "task": "text-generation",
        "hardware": ["cuda", "cpu"],
        "architecture": "EchoForCausalLM",
    }
    assert registry.find("louder").spec.name == "louder"
    assert {"loud", "louder", "echo"} <= {spec.name for spec in registry.specs()}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("this is not: python", "SyntaxError"),
        ("MODEL_ID = 'org/x'\nimport nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "defines no Runtime class"),
        ("from app.runtimes.echo import Echo", "defines no Runtime class"),
        (GOOD.replace("NAME", "echo"), "taken by another runtime"),
        (
            "from app.runtimes.base import Runtime\nclass Bare(Runtime):\n    pass",
            "not a Runtime with a spec",
        ),
        ("\x00", "null bytes"),
    ],
)
def test_a_broken_file_is_reported_and_the_others_work(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "hf_broken.py").write_text(text)
    (tmp_path / "hf_good.py").write_text(GOOD.replace("NAME", "loud"))
    modules = set(sys.modules)
    broken, good = registry.discover([tmp_path])
    assert error in broken.error
    assert broken.spec is None
    assert broken.metadata.get("model_id") in (None, "org/x", "org/loud")
    assert good.spec
    assert len([name for name in set(sys.modules) - modules if name.startswith("lovage_discovered")]) <= 2
    assert registry.find("echo").__module__ == "app.runtimes.echo"


def test_a_name_that_is_gone_or_was_never_there_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "hf_good.py").write_text(GOOD.replace("NAME", "loud"))
    registry.discover([tmp_path])
    registry.find("loud")
    registry.discover([])
    with pytest.raises(NotFound, match="no runtime 'loud'; known are echo, text-generation"):
        registry.find("loud")
