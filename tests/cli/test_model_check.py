"""`lovage models check FOLDER` needs no platform and says what registering would."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_folders import safetensors, write_model
from typer.testing import CliRunner

from app.cli import app
from app.runtimes.demo import SHIPPED

GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["models", "check", *words])


def test_a_folder_is_described() -> None:
    said = run(str(SHIPPED / "words"))
    assert said.exit_code == 0, said.output
    assert "text-generation" in said.output
    assert "M parameters in" in said.output
    found = json.loads(run(str(SHIPPED / "words"), "--json").output)
    assert (found["problems"], found["parameters"] > 0) == ([], True)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.safetensors", b"", "source has model.safetensors, which is empty"),
        ("config.json", b"{}", "runtime cannot be inferred from the files"),
    ],
)
def test_what_would_be_refused_is_said_and_the_exit_code_is_1(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    folder = write_model(tmp_path / "gpt", GPT2, "wte.weight")
    (folder / name).write_bytes(content)
    said = run(str(folder))
    assert (said.exit_code, sentence in said.output) == (1, True), said.output


def test_what_is_no_folder_is_one_sentence() -> None:
    said = run("/nowhere/at/all")
    assert said.exit_code == 2


def test_an_adapter_of_a_model_on_this_machine_is_run_as_that_is(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", GPT2, "wte.weight")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(safetensors("h.0.lora_A.weight"))
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base)}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(config))
    report = json.loads(run(str(tmp_path / "lora"), "--json").output)
    assert (report["runtime"], report["problems"]) == ("text-generation", [])
    listed = CliRunner().invoke(app, ["discover", "models", str(tmp_path), "--json"])
    assert {each["name"]: each["runtime"] for each in json.loads(listed.output)} == {
        "base": "text-generation",
        "lora": "text-generation",
    }
