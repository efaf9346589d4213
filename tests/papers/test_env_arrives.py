"""Every name of .env.example arrives: in each container of the compose file, in each process of
`lovage up`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app import setting_sources, settings
from app.cli import app as lovage
from app.local.composition import OWN_PORTS, Connections, UpOptions, environment, platform_programs
from scripts.images.compose_file import NotSet, read_compose, read_env
from scripts.images.trials import INSIDE

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = sorted(name for name, service in COMPOSE["services"].items() if "lovage-" in service.get("image", ""))
SECRETS = {
    "SECRET_KEY": "x",
    "POSTGRES_PASSWORD": "p",
    "REDIS_PASSWORD": "r",
    "FLOWER_BASIC_AUTH": "lovage:f",
}
NAMES = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.M)


def environment_of(service: str, env: Mapping[str, str]) -> dict[str, str]:
    """What a container of the service sees, for these variables in .env."""
    return dict(read_compose(env).services[service].environment)


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
    env = {"API_PORT": "9000", "FLOWER_PORT": "9001", **SECRETS}
    services = read_compose(env).services
    assert [services[name].ports[0] for name in ("proxy", "flower")] == [
        ("127.0.0.1:9000", "8000"),
        ("127.0.0.1:9001", "5555"),
    ]
    assert not services["api"].ports, "or a second API container could not start"
    seen = environment_of("api", env)
    assert seen["PUBLIC_URL"] == "http://localhost:9000"
    assert seen["DATABASE_URL"] == "postgresql+psycopg2://lovage:p@postgres:5432/lovage"
    assert seen["REDIS_URL"] == "redis://:r@redis:6379/0"


def test_without_its_secrets_the_composed_platform_refuses_to_start() -> None:
    with pytest.raises(NotSet, match="POSTGRES_PASSWORD"):
        environment_of("api", {"SECRET_KEY": "x"})


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert len(used) > 20
    assert used <= set(NAMES), used - set(NAMES)


def test_no_name_of_the_example_is_taken_for_a_mistake(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}=x\n" for name in NAMES))
    found = setting_sources.find({}, settings.KNOWN, settings.SECRETS, tmp_path)
    assert not found.warnings


@pytest.mark.parametrize("profile", ["cpu", "gpu", "s3", "monitoring"])
def test_each_profile_adds_services_and_what_they_depend_on_is_started(profile: str) -> None:
    compose = read_compose(SECRETS)
    plain, chosen = compose.chosen(()), compose.chosen((profile,))
    assert {"proxy", "postgres", "redis", "setup", "api", "courier", "clock", "flower"} == {
        service.name for service in plain
    }
    assert len(chosen) > len(plain)
    names = [service.name for service in chosen]
    for service in chosen:
        assert all(names.index(other) < names.index(service.name) for other in service.depends_on)


def test_the_databases_and_the_store_are_reached_from_inside_alone() -> None:
    compose = read_compose(SECRETS)
    assert compose.networks == {"inside": True, "outside": False}
    for name in ("postgres", "redis", "s3"):
        assert compose.services[name].networks == ("inside",)
        assert not compose.services[name].ports


@pytest.mark.parametrize("service", OURS)
def test_a_container_writes_nowhere_but_in_its_volume_and_has_limits(service: str) -> None:
    declared = read_compose(SECRETS).services[service]
    assert declared.options["read_only"] is True
    assert declared.options["cap_drop"] == ["ALL"]
    assert [target for _, target, only_read in declared.volumes if not only_read] == ["/data"]
    assert ("./models", "/models", True) in declared.volumes
    limits = declared.options["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert "cpus" in limits


def test_a_generated_env_is_all_that_the_composed_platform_needs(tmp_path: Path) -> None:
    done = CliRunner().invoke(lovage, ["env", "init", str(tmp_path / ".env"), "--profiles", "cpu,s3"])
    assert done.exit_code == 0, done.output
    env = read_env(tmp_path / ".env")
    compose = read_compose({name: value for name, value in env.items() if value})
    names = {service.name for service in compose.chosen(tuple(env["COMPOSE_PROFILES"].split(",")))}
    assert {"worker-cpu", "s3", "bucket"} <= names
    assert compose.services["bucket"].command == ("mkdir", f"own:{env['S3_BUCKET']}")
    assert f"{env['S3_ACCESS_KEY_ID']},{env['S3_SECRET_ACCESS_KEY']}" in compose.services["s3"].command
    assert env["S3_ENDPOINT_URL"] == "http://s3:9000"
    wrong = CliRunner().invoke(lovage, ["env", "init", "--print", "--profiles", "gpus"])
    assert (wrong.exit_code, "there is no gpus" in wrong.output) == (2, True)


PEER = f"12D3KooW{'a' * 44}"
# Of each kind a value that is not the default.
OTHERS: dict[str, str] = {
    "LOVAGE_ENV": "production",
    "DATABASE_URL": "postgresql+psycopg2://u:p@host/db",
    "REDIS_URL": "redis://host:1/0",
    "SECRET_KEY": "0f8b4c1d" * 8,
    "STORAGE": "s3",
    "DEVICE": "cpu",
    "GRPC_TLS_USERS": "robot=ada",
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
    "MCP_MODELS": "demo/minilm",
    "RATE_LIMIT_CREATES": "7/minute",
    "RATE_LIMIT_CALLS": "7/minute",
    "RATE_LIMIT_KEY": "7/minute",
    "RATE_LIMIT_LOGINS": "7/minute",
    "RATE_LIMIT_REGISTRATIONS": "7/minute",
    "FLOWER_BASIC_AUTH": "user:password",
    "P2P_ALLOWED_PEERS": PEER,
    "P2P_SHARED_KEY": "0f" * 32,
    "P2P_LISTEN": "/ip4/10.0.0.3/tcp/4001",
    "P2P_PUBLIC_ADDRESSES": "/ip4/10.0.0.3/tcp/4002",
    "P2P_BOOTSTRAP": f"/ip4/10.0.0.4/tcp/4001/p2p/{PEER}",
    "P2P_NETWORK": "other",
    "P2P_MODELS": "demo/minilm",
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
        if own := {"courier": 1, "gateway": 2, "clock": 3}.get(program.name):
            expected |= {name: str(int(others[name]) + own) for name in OWN_PORTS}  # each has its own
        assert {name: program.env[name] for name in names} == expected, program.name
