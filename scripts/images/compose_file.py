"""What docker-compose.yml says, as plain data: its services with .env in place of the variables.

Knows what this file uses of compose's format, and no container engine.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])((?:[^${}]|\$\{(?:[^${}]|\$\{[^{}]*\})*\})*))?\}")
STARTED, HEALTHY, COMPLETED = "service_started", "service_healthy", "service_completed_successfully"


class NotSet(ValueError):
    """A variable that compose insists on."""


@dataclass(frozen=True, slots=True)
class Build:
    """From which Dockerfile an image is made."""

    dockerfile: str
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """One of the file's services. `volumes`: (source, target, read only); `ports`: (address and port of the
    host, port of the container); `configs`: (target, content); `health`: the command that checks it, None for
    the image's own, () for none."""

    name: str
    image: str
    build: Build | None
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: tuple[tuple[str, str, bool], ...]
    configs: tuple[tuple[str, str], ...]
    networks: tuple[str, ...]
    ports: tuple[tuple[str, str], ...]
    health: tuple[str, ...] | None
    depends_on: Mapping[str, str]
    profiles: tuple[str, ...]
    options: Mapping[str, Any]

    @property
    def ends(self) -> bool:
        """Whether it does one thing and is over."""
        return self.options.get("restart") == "no"


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """Its services by name, each after those that it depends on, and its networks: whether each is
    internal."""

    services: Mapping[str, Service]
    networks: Mapping[str, bool]

    def chosen(self, profiles: tuple[str, ...]) -> list[Service]:
        """What `docker compose up` starts with these profiles, in order."""
        return [
            one for one in self.services.values() if not one.profiles or set(one.profiles) & set(profiles)
        ]

    def images(self) -> dict[str, Build | None]:
        """Every image with how it is built; None for those of others."""
        found: dict[str, Build | None] = {}
        for service in self.services.values():
            found[service.image] = service.build or found.get(service.image)
        return found


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """As compose does it, for what this file uses: ${A}, ${A:-default}, ${A:?error}, one in another. Raises
    NotSet."""

    def replaced(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if env.get(name):
            return env[name]
        if operator == "?":
            raise NotSet(f"compose refuses to start: {rest}")
        return interpolated(rest or "", env)

    return VARIABLE.sub(replaced, text)


def read_compose(env: Mapping[str, str], path: Path = COMPOSE) -> ComposeFile:
    """The file with these variables. Raises NotSet."""
    declared = _filled(yaml.safe_load(path.read_text("utf-8")), env)
    contents = {name: one["content"] for name, one in declared.get("configs", {}).items()}
    services = {
        name: _service(name, service, env, contents) for name, service in declared["services"].items()
    }
    networks = {name: bool((one or {}).get("internal")) for name, one in declared["networks"].items()}
    return ComposeFile(dict(_in_order(services)), networks)


def read_env(path: Path) -> dict[str, str]:
    """The variables of a .env as compose reads it."""
    return {name: value or "" for name, value in dotenv_values(path).items()}


def _filled(value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return interpolated(value, env)
    if isinstance(value, dict):
        return {name: _filled(one, env) for name, one in value.items()}
    return [_filled(one, env) for one in value] if isinstance(value, list) else value


def _service(
    name: str, declared: dict[str, Any], env: Mapping[str, str], contents: Mapping[str, str]
) -> Service:
    own = {key: str(value) for key, value in declared.get("environment", {}).items()}
    depends = declared.get("depends_on", {})
    return Service(
        name=name,
        image=declared["image"],
        build=_build(declared.get("build")),
        entrypoint=tuple(declared.get("entrypoint", ())),
        command=tuple(declared.get("command", ())),
        environment={**(env if declared.get("env_file") == ".env" else {}), **own},
        volumes=tuple(_volume(text) for text in declared.get("volumes", ())),
        configs=tuple((one["target"], contents[one["source"]]) for one in declared.get("configs", ())),
        networks=tuple(declared["networks"]),
        ports=tuple(_port(text) for text in declared.get("ports", ())),
        health=_health(declared.get("healthcheck")),
        depends_on=(
            {one: STARTED for one in depends}
            if isinstance(depends, list)
            else {one: how["condition"] for one, how in depends.items()}
        ),
        profiles=tuple(declared.get("profiles", ())),
        options=declared,
    )


def _build(declared: Any) -> Build | None:
    if declared is None or isinstance(declared, str):
        return Build("Dockerfile") if declared else None
    return Build(declared["dockerfile"], declared.get("args", {}))


def _volume(text: str) -> tuple[str, str, bool]:
    source, target, *mode = text.split(":")
    return source, target, mode == ["ro"]


def _port(text: str) -> tuple[str, str]:
    host, _, container = text.rpartition(":")
    return host, container


def _health(declared: dict[str, Any] | None) -> tuple[str, ...] | None:
    if declared is None:
        return None
    kind, *command = [""] if declared.get("disable") else declared["test"]
    return ("sh", "-c", *command) if kind == "CMD-SHELL" else tuple(command)


def _in_order(services: Mapping[str, Service]) -> Iterator[tuple[str, Service]]:
    """Each after what it depends on."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, Service]]:
        if name not in done:
            done.add(name)
            for other in services[name].depends_on:
                yield from visit(other)
            yield name, services[name]

    for name in services:
        yield from visit(name)
