"""Every name of .env.example arrives: in each container of the compose file, in each process of
`lovage up`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import settings
from app.local.composition import Connections, UpOptions, environment, platform_programs

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = sorted(name for name, service in COMPOSE["services"].items() if "lovage-" in service.get("image", ""))
NAMES = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.M)
# Inside a container these are fixed: the volume, and addresses and ports that are published on others.
INSIDE = {
    "LOVAGE_DATA_DIR",
    "API_HOST",
    "API_PORT",
    "HEALTH_HOST",
    "HEALTH_PORT",
    "FLOWER_ADDRESS",
    "FLOWER_PORT",
}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])((?:[^${}]|\$\{(?:[^${}]|\$\{[^{}]*\})*\})*))?\}")


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """As compose does it, for what this file uses: ${A}, ${A:-default}, ${A:?error}, one in another."""

    def replaced(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if env.get(name):
            return env[name]
        assert operator != "?", f"compose refuses to start: {rest}"
        return interpolated(rest or "", env)

    return VARIABLE.sub(replaced, text)


def environment_of(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What a container of the service sees, for these variables in .env."""
    declared = COMPOSE["services"][service]
    assert declared["env_file"] == ".env"
    own = {name: interpolated(str(text), env) for name, text in declared["environment"].items()}
    return {**env, **own}


def test_there_are_services_of_ours_and_names() -> None:
    assert {"api", "setup", "worker-cpu", "worker-gpu", "courier", "clock", "flower"} <= set(OURS)
    assert set(NAMES) >= {name.upper() for name in settings.Settings.model_fields}


@pytest.mark.parametrize("service", OURS)
def test_every_name_of_the_example_arrives_in_every_container(service: str) -> None:
    env = {name: f"sentinel-{name}" for name in NAMES}
    seen = environment_of(service, env)
    missing = [name for name in NAMES if name not in INSIDE and seen.get(name) != env[name]]
    assert not missing


def test_the_ports_of_this_host_are_those_of_the_settings() -> None:
    env = {"API_PORT": "9000", "FLOWER_PORT": "9001"}
    ports = [interpolated(COMPOSE["services"][name]["ports"][0], env) for name in ("api", "flower")]
    assert ports == ["9000:8000", "127.0.0.1:9001:5555"]
    seen = environment_of("api", {**env, "SECRET_KEY": "x", "POSTGRES_PASSWORD": "p", "REDIS_PASSWORD": "r"})
    assert seen["PUBLIC_URL"] == "http://localhost:9000"
    assert seen["DATABASE_URL"] == "postgresql+psycopg2://lovage:p@postgres:5432/lovage"
    assert seen["REDIS_URL"] == "redis://:r@redis:6379/0"


def test_without_its_secrets_the_composed_platform_refuses_to_start() -> None:
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD"):
        environment_of("api", {"SECRET_KEY": "x"})


# Of each kind a value that is not the default.
OTHERS: dict[str, str] = {
    "LOVAGE_ENV": "production",
    "DATABASE_URL": "postgresql+psycopg2://u:p@host/db",
    "REDIS_URL": "redis://host:1/0",
    "SECRET_KEY": "0f8b4c1d" * 8,
    "STORAGE": "s3",
    "DEVICE": "cpu",
    "ROUTING_STRATEGY": "round-robin",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "debug",
    "METRICS": "false",
    "METRICS_TOKEN": "t" * 16,
    "ALLOW_ANONYMOUS": "true",
    "ALLOW_REGISTRATION": "true",
    "TRUSTED_PROXIES": "10.0.0.1",
    "DENY_ADDRESSES": "10.0.0.2",
    "WEBHOOK_RETRY_SECONDS": "1,2",
    "MODEL_ALIASES": "small=demo/minilm",
    "RATE_LIMIT_CREATES": "7/minute",
    "RATE_LIMIT_CALLS": "7/minute",
    "RATE_LIMIT_KEY": "7/minute",
    "RATE_LIMIT_LOGINS": "7/minute",
    "RATE_LIMIT_REGISTRATIONS": "7/minute",
    "FLOWER_BASIC_AUTH": "user:password",
}


def other_value(name: str) -> str:
    """One that the setting takes, and that is not its default."""
    field = settings.Settings.model_fields[name.lower()]
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(field.default, bool):
        return str(not field.default).lower()
    if isinstance(field.default, int | float):
        return str(int(field.default) + 11)
    return f"x-{name.lower()}"


def test_every_name_of_the_example_arrives_in_every_process_of_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name.upper() for name in settings.Settings.model_fields]
    others = {name: other_value(name) for name in names} | {"ALLOW_PRIVATE_ADDRESSES": "false"}
    (tmp_path / ".env").write_text("".join(f"{name}={text}\n" for name, text in others.items()))
    monkeypatch.chdir(tmp_path)
    for name in (*names, "LOVAGE_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    loaded = settings.load()
    assert not [name for name in names if str(getattr(loaded, name.lower())) == "None"]
    options = UpOptions(
        loaded.lovage_data_dir.absolute(),
        loaded.api_host,
        loaded.api_port,
        loaded.flower_port,
        database_url=loaded.database_url,
        redis_url=loaded.redis_url,
        env=settings.child_environment(),
    )
    connections = Connections(
        loaded.database_url, loaded.redis_url, loaded.secret_key, others["FLOWER_BASIC_AUTH"]
    )
    programs = platform_programs(options, environment(options, connections))
    assert {"api", "worker-cpu", "courier", "clock", "flower"} <= {program.name for program in programs}
    for program in programs:
        expected = others | {"LOVAGE_DATA_DIR": str(options.data_dir)}
        if program.name == "courier":
            expected["HEALTH_PORT"] = str(int(others["HEALTH_PORT"]) + 1)  # each has one of its own
        assert {name: program.env[name] for name in names} == expected, program.name
