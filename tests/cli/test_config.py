"""`lovage config show | check`, `lovage env init`, and what every command says of a wrong .env."""

import json
import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli, settings
from app.cli import config
from app.cli.env_template import OF_COMPOSE
from app.cli.platform import devices_for


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (*settings.KNOWN, "LOVAGE_ENV_FILE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def lovage(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """The exit code of the whole command, as a shell runs it."""
    monkeypatch.setattr("sys.argv", ["lovage", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_a_generated_env_has_fresh_secrets_and_is_accepted(folder: Path, monkeypatch, capsys) -> None:
    assert lovage("env", "init", monkeypatch=monkeypatch) == 0
    env = folder / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    values = dict(re.findall(r"^(\w+)=(.+)$", env.read_text(), re.M))
    assert {"SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_BASIC_AUTH"} <= set(values)
    assert not settings.is_weak(values["SECRET_KEY"])
    assert lovage("config", "check", monkeypatch=monkeypatch) == 0
    before = env.read_text()
    assert lovage("env", "init", monkeypatch=monkeypatch) == 2
    assert env.read_text() == before, "one that is there is left alone"
    told = capsys.readouterr()
    assert "is there already" in told.err
    assert values["SECRET_KEY"] not in told.out


def test_a_wrong_value_is_named_with_where_it_stands(folder: Path, monkeypatch, capsys) -> None:
    (folder / ".env").write_text("LOVAGE_ENV=development\nAPI_PORT=high\nAPI_PROT=1\n")
    assert lovage("config", "check", monkeypatch=monkeypatch) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "API_PROT (.env) is not a setting of Lovage" in lines[0]
    assert "did you mean API_PORT?" in lines[0]
    assert lines[1].startswith("lovage: API_PORT (.env): Input should be a valid integer")
    assert len(lines) == 2


def test_a_contradiction_ends_every_command_in_one_sentence(monkeypatch, capsys) -> None:
    monkeypatch.setenv("STORAGE", "local")
    monkeypatch.setenv("STORAGE_TYPE", "s3")
    assert lovage("ls", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == (
        "lovage: STORAGE_TYPE and STORAGE contradict each other (environment): leave one of them out\n"
    )


def test_settings_are_shown_with_their_origin_and_masked(folder: Path, monkeypatch) -> None:
    (folder / ".env").write_text("HF_TOKEN=hidden\nLOG_LEVEL=debug\n")
    shown = CliRunner().invoke(cli.app, ["config", "show", "--set", "--json"])
    rows = {row["name"]: (row["value"], row["origin"]) for row in json.loads(shown.output)}
    assert rows == {"HF_TOKEN": ("(set)", ".env"), "LOG_LEVEL": ("debug", ".env")}
    for_up = CliRunner().invoke(cli.app, ["config", "show", "log_format", "log_level", "--up"]).output
    assert "lovage up" in for_up
    assert ".env" in for_up
    unknown = CliRunner().invoke(cli.app, ["config", "show", "NO_SUCH"])
    assert (unknown.exit_code, "NO_SUCH: is not a setting" in unknown.output) == (2, True)


def test_the_template_has_every_setting_once() -> None:
    text = config.env_text()
    names = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.M)
    assert len(names) == len(set(names))
    assert set(names) == {name.upper() for name in settings.Settings.model_fields} | {
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "COMPOSE_PROFILES",
        *(name for name, _, _ in OF_COMPOSE),
    }


@pytest.mark.parametrize(
    ("device", "workers", "devices"), [("cpu", None, ("cpu",)), ("cpu", 3, ("cpu", "cpu", "cpu"))]
)
def test_the_device_and_the_number_of_workers_are_followed(device, workers, devices) -> None:
    assert devices_for(device, workers) == devices


def test_a_device_that_is_not_there_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        devices_for("cuda:99", None)
    assert end.value.code == 2
    assert "DEVICE: There is no device 'cuda:99'" in capsys.readouterr().err
