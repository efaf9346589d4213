"""Which value of a setting counts, of the many places where one may stand."""

from pathlib import Path

import pytest

from app.setting_sources import ENV_FILE, Found, WrongSource, find

KNOWN = {
    "API_PORT",
    "DEVICE",
    "LOG_LEVEL",
    "LOVAGE_ENV",
    "MODEL_CACHE_DIR",
    "ALLOW_REGISTRATION",
    "REDIS_URL",
    "SECRET_KEY",
    "STORAGE",
}
SECRETS = {"REDIS_URL", "SECRET_KEY"}


def found(folder: Path, dotenv: str | None = None, **environ: str) -> Found:
    if dotenv is not None:
        (folder / ".env").write_text(dotenv)
    return find(environ, KNOWN, SECRETS, folder)


def value(folder: Path, name: str, dotenv: str | None = None, **environ: str) -> tuple[str, str] | None:
    """A setting's text and where it stands."""
    sourced = found(folder, dotenv, **environ).settings.get(name)
    return (sourced.text, sourced.origin) if sourced else None


def test_the_environment_goes_before_files_before_dotenv_before_defaults(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    dotenv = "SECRET_KEY=of .env\n"
    everything = {"SECRET_KEY": "of the environment", "SECRET_KEY_FILE": str(file)}
    assert value(tmp_path, "SECRET_KEY", dotenv, **everything) == ("of the environment", "environment")
    assert value(tmp_path, "SECRET_KEY", dotenv, SECRET_KEY_FILE=str(file)) == ("of the file", str(file))
    assert value(tmp_path, "SECRET_KEY", dotenv) == ("of .env", ".env")
    assert value(tmp_path, "SECRET_KEY", "") is None


def test_a_file_may_be_named_in_dotenv_and_goes_before_its_value_there(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file")
    dotenv = f"SECRET_KEY=of .env\nSECRET_KEY_FILE={file}\n"
    assert value(tmp_path, "SECRET_KEY", dotenv) == ("of the file", str(file))


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_value_is_none_everywhere(tmp_path: Path, text: str) -> None:
    assert value(tmp_path, "API_PORT", "API_PORT=9000\n", API_PORT=text) == ("9000", ".env")
    assert value(tmp_path, "API_PORT", f"API_PORT={text}\n") is None


def test_another_file_than_dotenv_may_be_named_or_none(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=9000\n")
    (tmp_path / "other.env").write_text("API_PORT=9001\n")
    assert value(tmp_path, "API_PORT", **{ENV_FILE: "other.env"}) == ("9001", ".env")
    assert value(tmp_path, "API_PORT", **{ENV_FILE: "off"}) is None
    with pytest.raises(WrongSource, match="LOVAGE_ENV_FILE: there is no file"):
        value(tmp_path, "API_PORT", **{ENV_FILE: "absent.env"})


@pytest.mark.parametrize(
    ("variables", "setting", "text"),
    [
        ({"STORAGE_TYPE": "S3"}, "STORAGE", "s3"),
        ({"HF_SERVER_PORT": "9000"}, "API_PORT", "9000"),
        ({"HF_SERVER_LOG_LEVEL": "DEBUG"}, "LOG_LEVEL", "debug"),
        ({"ENABLE_GPU": "false"}, "DEVICE", "cpu"),
        ({"ENABLE_GPU": "1"}, "DEVICE", "gpu"),
        ({"HF_HOME": "/big/disk"}, "MODEL_CACHE_DIR", "/big/disk/lovage"),
        ({"HF_HOME": "/big/disk", "MODEL_CACHE_DIR": "/models"}, "MODEL_CACHE_DIR", "/models"),
        ({"REDIS_HOST": "redis"}, "REDIS_URL", "redis://redis:6379/0"),
        (
            {"REDIS_HOST": "redis", "REDIS_PORT": "6380", "REDIS_PASSWORD": "p@ss/word"},
            "REDIS_URL",
            "redis://:p%40ss%2Fword@redis:6380/0",
        ),
        ({"REDIS_HOST": "redis", "REDIS_URL": "rediss://redis:1/2"}, "REDIS_URL", "rediss://redis:1/2"),
        ({"ENABLE_GPU": "true", "DEVICE": "cuda:1"}, "DEVICE", "cuda:1"),
        ({"ENABLE_GPU": "false", "DEVICE": "auto"}, "DEVICE", "auto"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_names_that_people_know_stand_for_ours(tmp_path: Path, place, variables, setting, text) -> None:
    if place == ".env":
        lines = "".join(f"{name}='{each}'\n" for name, each in variables.items())
        assert value(tmp_path, setting, lines) == (text, place)
    else:
        assert value(tmp_path, setting, **variables) == (text, place)


def test_a_part_of_an_address_may_stand_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    dotenv = f"REDIS_PASSWORD_FILE={tmp_path}/password\n"
    expected = ("redis://:from%20a%20file@redis:6379/0", "environment")
    assert value(tmp_path, "REDIS_URL", dotenv, REDIS_HOST="redis") == expected
    assert value(tmp_path, "REDIS_URL", "REDIS_PASSWORD=x\n") is None, "compose's own; it says no address"


def test_another_name_in_the_environment_goes_before_the_setting_in_dotenv(tmp_path: Path) -> None:
    assert value(tmp_path, "STORAGE", "STORAGE=local\n", STORAGE_TYPE="s3") == ("s3", "environment")


@pytest.mark.parametrize(
    "variables",
    [
        {"STORAGE_TYPE": "s3", "STORAGE": "local"},
        {"HF_SERVER_PORT": "9000", "API_PORT": "9001"},
        {"ENABLE_GPU": "false", "DEVICE": "cuda:0"},
        {"ENABLE_GPU": "true", "DEVICE": "cpu"},
        {"REDIS_HOST": "here", "REDIS_URL": "redis://there:6379/0"},
    ],
)
def test_two_names_that_say_different_things_are_refused_by_both(tmp_path: Path, variables) -> None:
    with pytest.raises(WrongSource, match="contradict each other") as refused:
        found(tmp_path, **variables)
    assert all(name in str(refused.value) for name in variables)


def test_what_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "huge").write_bytes(b"x" * 64_001)
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("absent", "empty", "huge", "binary", "."):
        with pytest.raises(WrongSource, match="SECRET_KEY_FILE"):
            found(tmp_path, SECRET_KEY_FILE=str(tmp_path / name))
    with pytest.raises(WrongSource, match="ENABLE_GPU: must be true or false"):
        found(tmp_path, ENABLE_GPU="perhaps")
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(WrongSource, match="cannot be read"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ALLOW_REGISTRATON", "ALLOW_REGISTRATION"),
        ("API_PROT", "API_PORT"),
        ("api_port", "API_PORT"),
        ("SECRET_KEYFILE", "SECRET_KEY_FILE"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("SOMETHING_ELSE", ""),
    ],
)
def test_a_name_in_dotenv_that_looks_like_a_mistake_is_named_with_the_nearest(
    tmp_path: Path, name: str, nearest: str
) -> None:
    [warning] = found(tmp_path, f"{name}=x\n").warnings
    assert warning.startswith(f"{name} (.env) is not a setting")
    assert (f"did you mean {nearest}?" in warning) is bool(nearest)


def test_our_own_prefix_is_watched_in_the_environment_and_others_are_not(tmp_path: Path) -> None:
    [warning] = found(tmp_path, LOVAGE_ENVIRONMENT="x", ALLOW_REGISTRATON="x", PATH="/bin").warnings
    assert warning.startswith("LOVAGE_ENVIRONMENT (environment) is not a setting")


def test_other_programs_variables_in_dotenv_are_left_to_them(tmp_path: Path) -> None:
    names = ("POSTGRES_PASSWORD", "AWS_PROFILE", "COMPOSE_PROJECT_NAME", "HTTPS_PROXY", "REDIS_PASSWORD")
    result = found(tmp_path, "".join(f"{name}=x\n" for name in names))
    assert result.warnings == ()
    assert result.foreign == dict.fromkeys(set(names) - {"REDIS_PASSWORD"}, "x")
    assert not result.settings
