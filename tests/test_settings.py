"""What the settings mean once they are found: defaults, contradictions, what is shown of them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app import settings
from app.settings import Settings, describe, load, load_with

GOOD = "0f8b4c1d" * 8


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No .env but the test's own, and nothing of the caller's environment."""
    monkeypatch.chdir(tmp_path)
    for name in (*settings.KNOWN, "LOVAGE_ENV_FILE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOVAGE_ENV", "development")
    return tmp_path


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_means_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(load_with({"LOVAGE_ENV": "development"}), name)
    monkeypatch.setenv(name.upper(), "")
    if name not in ("secret_key", "lovage_env"):
        assert getattr(load(), name) == default
    assert settings.find().settings.get(name.upper()) is None


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"STORAGE": "s3"}, ["STORAGE", "S3_BUCKET"]),
        ({"S3_BUCKET": "b"}, ["S3_BUCKET", "STORAGE"]),
        ({"S3_ACCESS_KEY_ID": "x"}, ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]),
        ({"HEARTBEAT_SECONDS": "20"}, ["DEAD_AFTER_SECONDS=15", "HEARTBEAT_SECONDS=20"]),
        (
            {"LOVAGE_ENV": "production", "SECRET_KEY": GOOD, "ALLOW_PRIVATE_ADDRESSES": "true"},
            ["development"],
        ),
    ],
)
def test_a_contradiction_is_refused_in_a_sentence(monkeypatch, variables, names) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError) as refused:
        load()
    [problem] = refused.value.errors()
    assert all(name in problem["msg"] for name in names)


@pytest.mark.parametrize("text", ["INFO", "Info", " info "])
def test_levels_are_understood_as_other_programs_write_them(monkeypatch, text: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", text)
    assert load().log_level == "info"


def test_no_limit_has_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_CREATES", "off")
    assert load().rate_limit_creates == ""
    assert load().rate_limit_calls == "3000/minute"


def test_other_defaults_stand_only_where_nothing_is_set(own_folder: Path, monkeypatch) -> None:
    (own_folder / ".env").write_text("LOG_LEVEL=debug\n")
    loaded = load_with({"LOG_LEVEL": "error", "LOG_FORMAT": "console", "API_PORT": "9000"})
    assert (loaded.log_level, loaded.log_format, loaded.api_port) == ("debug", "console", 9000)


def test_registration_is_closed_in_production_unless_it_is_opened(monkeypatch) -> None:
    assert load().registration_is_open
    monkeypatch.setenv("LOVAGE_ENV", "production")
    monkeypatch.setenv("SECRET_KEY", GOOD)
    assert not load().registration_is_open
    monkeypatch.setenv("ALLOW_REGISTRATION", "true")
    assert load().registration_is_open


def test_what_is_shown_has_its_origin_and_no_secret(own_folder: Path, monkeypatch) -> None:
    (own_folder / "key").write_text(GOOD)
    (own_folder / ".env").write_text("DATABASE_URL=postgresql+psycopg2://u:hidden@host/db\nHF_TOKEN=hidden\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(own_folder / "key"))
    monkeypatch.setenv("STORAGE_TYPE", "local")
    monkeypatch.setenv("API_PORT", "not a number")
    shown = {
        setting.name: (setting.value, setting.origin) for setting in describe({"LOG_FORMAT": "console"}, "up")
    }
    assert shown["SECRET_KEY"] == ("(set)", str(own_folder / "key"))
    assert shown["HF_TOKEN"] == ("(set)", ".env")
    assert shown["DATABASE_URL"] == ("postgresql+psycopg2://u:…@host/db", ".env")
    assert shown["STORAGE"] == ("local", "environment (STORAGE_TYPE)")
    assert shown["API_PORT"] == ("not a number", "environment"), "shown as it is, accepted or not"
    assert shown["LOG_FORMAT"] == ("console", "up")
    assert shown["METRICS"] == ("true", "default")
    assert "hidden" not in str(shown)
    assert GOOD not in repr(settings.find())


def test_processes_are_given_all_that_was_found(own_folder: Path, monkeypatch) -> None:
    (own_folder / ".env").write_text("API_PORT=9000\nAWS_PROFILE=mine\nLOG_LEVEL=debug\n")
    monkeypatch.setenv("LOG_LEVEL", "error")
    env = settings.child_environment()
    expected = ("9000", "mine", "error", "off")
    assert (
        tuple(env[name] for name in ("API_PORT", "AWS_PROFILE", "LOG_LEVEL", "LOVAGE_ENV_FILE")) == expected
    )
