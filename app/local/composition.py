"""Which programs make a platform on one machine, with which arguments and environment.

Plain data in, plain data out: it starts nothing. Knows the commands of `lovage`; does not know what they do.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.local.programs import Program

FLOWER_USER = "lovage"
READY_TIMEOUT_S = 1.0
# How a client on this machine names a server that listens on every address.
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not bound
# A developer's own machine: the webhook receiver is on it, too, and nobody else calls.
OWN_MACHINE = {
    "ALLOW_PRIVATE_ADDRESSES": "true",
    "RATE_LIMIT_CREATES": "off",
    "RATE_LIMIT_CALLS": "off",
    "RATE_LIMIT_REGISTRATIONS": "off",
    "UPLOAD_QUOTA_BYTES": "0",
    "PREDICTION_QUOTA_BYTES": "0",
    "MODEL_QUOTA_BYTES": "0",
}
ON, OFF = ("1", "true", "yes", "on", "t", "y"), ("0", "false", "no", "off", "f", "n")
# Whoever reaches the address could make an account and have this machine call its own network.
OPEN_TO_OTHERS = {"ALLOW_REGISTRATION": "false", "ALLOW_PRIVATE_ADDRESSES": "false"}
# How long each may drain. A worker gives running predictions 25 s (WORKER_GRACE_SECONDS) and hands the rest
# back.
GRACE_S = {
    "api": 15.0,
    "worker": 35.0,
    "courier": 20.0,
    "gateway": 35.0,
    "clock": 5.0,
    "flower": 5.0,
    "peer": 15.0,
}


@dataclass(frozen=True)
class UpOptions:
    """What `lovage up` was asked for. `env` is the environment that the programs inherit.

    An empty `database_url` or `redis_url` means: start the embedded server. One worker is started for each of
    `devices`. `command` is how the other commands are called.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    flower_port: int = 5555
    devices: tuple[str, ...] = ("cpu",)
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    detach: bool = False
    ready_timeout_s: float = 120.0
    command: tuple[str, ...] = (sys.executable, "-m", "app")


@dataclass(frozen=True)
class Connections:
    """Where the programs find Postgres and Redis, and their secrets."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    flower_auth: str = field(repr=False)


def api_url(options: UpOptions) -> str:
    """The API as a client on this machine calls it."""
    host = LOOPBACK_OF.get(options.host, options.host)
    return f"http://{host}:{options.port}"


def flower_url(options: UpOptions) -> str:
    return f"http://127.0.0.1:{options.flower_port}"


def environment(options: UpOptions, connections: Connections) -> dict[str, str]:
    """The programs' environment. What the caller set wins over a default, the connections win over
    everything."""
    defaults = up_defaults(options)
    # An empty variable means its default, which here is ours.
    inherited = {name: value for name, value in options.env.items() if value or name not in defaults}
    return {
        **defaults,
        **inherited,
        "PYTHONUNBUFFERED": "1",  # a line is shown when it is written, not when 8 kB of them are there
        "LOVAGE_DATA_DIR": str(options.data_dir.absolute()),
        "DATABASE_URL": connections.database_url,
        "REDIS_URL": connections.redis_url,
        "SECRET_KEY": connections.secret_key,
        "FLOWER_BASIC_AUTH": connections.flower_auth,
        "FLOWER_PORT": str(options.flower_port),
        "API_HOST": options.host,
        "API_PORT": str(options.port),
    }


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who reaches it is not known here
        return False


def exposure_notice(options: UpOptions) -> str:
    """What a person should know of an API that other machines can reach; "" where none can."""
    if is_loopback(options.host):
        return ""
    closed = {
        "ALLOW_REGISTRATION": "registration is closed (ALLOW_REGISTRATION=true opens it)",
        "ALLOW_PRIVATE_ADDRESSES": (
            "webhooks and inputs on private addresses are refused (ALLOW_PRIVATE_ADDRESSES=true allows them)"
        ),
        "RATE_LIMIT_CALLS": "calls are limited (RATE_LIMIT_CREATES, RATE_LIMIT_CALLS)",
    }
    sentences = [sentence for name, sentence in closed.items() if not options.env.get(name)]
    state = "; ".join(sentences) or "what you have set decides who may do what"
    return f"Other machines can reach {options.host}:{options.port} over plain HTTP: {state}."


def up_defaults(options: UpOptions) -> dict[str, str]:
    """The settings that `lovage up` sets where nobody else does."""
    return {
        "LOVAGE_ENV": "development",
        "LOG_FORMAT": "console",
        "API_DRAIN_SECONDS": "0",  # nobody else is there to send callers to
        "WORKERS_ON_HOST": str(len(options.devices)),
        "FLOWER_URL": flower_url(options),
        **(OWN_MACHINE if is_loopback(options.host) else OPEN_TO_OTHERS),
    }


def one_off(options: UpOptions, env: Mapping[str, str], command: str) -> Program:
    """`lovage <command>`, run to its end before the platform starts."""
    return Program(command, (*options.command, command), env, quiet=True, once=True)


def platform_programs(options: UpOptions, env: Mapping[str, str]) -> list[Program]:
    """Everything that is kept running, beside the servers."""
    address = ("--host", options.host, "--port", str(options.port))
    return [
        _program(options, env, "api", ("api", *address), ready_url=f"{api_url(options)}/ready"),
        *(
            _program(
                options,
                own_port(env, number),
                f"worker-{device}" + (f".{name}" if name else ""),
                ("worker", "--device", device, *(("--name", name) if name else ())),
            )
            for number, (device, name) in enumerate(
                zip(options.devices, worker_names(options.devices), strict=True)
            )
        ),
        _program(options, own_port(env, len(options.devices)), "courier", ("worker", "--courier")),
        _program(options, own_port(env, len(options.devices) + 2), "clock", ("clock",)),
        _program(options, env, "flower", ("flower", "--port", str(options.flower_port))),
        *([_program(options, env, "peer", ("peer",))] if has_peers(env) else ()),
    ]


def gateway_program(options: UpOptions, env: Mapping[str, str]) -> Program | None:
    """What calls backends, to be started once there is one; None where ENABLE_BACKENDS leaves it out."""
    if not has_backends(env):
        return None
    return _program(options, own_port(env, len(options.devices) + 1), "gateway", ("worker", "--backends"))


def has_peers(env: Mapping[str, str]) -> bool:
    """Whether ENABLE_P2P asks for a peer process."""
    return _is_on(env, "ENABLE_P2P", default=False)


OWN_PORTS = ("HEALTH_PORT", "GRPC_PORT")


def has_backends(env: Mapping[str, str]) -> bool:
    """Whether ENABLE_BACKENDS leaves the gateway worker on."""
    return _is_on(env, "ENABLE_BACKENDS", default=True)


def _is_on(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A switch, in the words that pydantic takes for one."""
    word = env.get(name, "").strip().lower()
    return word in ON or (default and word not in OFF)


def own_port(env: Mapping[str, str], number: int) -> Mapping[str, str]:
    """On one machine each worker, and courier, gateway and clock after them, needs ports of its own: the next
    ones."""
    first = {name: env.get(name, "") for name in OWN_PORTS}
    ports = {name: int(port) for name, port in first.items() if port.isdecimal()}
    return {**env, **{name: str(port + number) for name, port in ports.items() if port}}


def worker_names(devices: Sequence[str]) -> list[str]:
    """A name for each worker, unique among those of its device and part of its queues: a number; "" for a
    device's only worker."""
    return [
        "" if devices.count(device) == 1 else str(devices[:index].count(device) + 1)
        for index, device in enumerate(devices)
    ]


def _program(
    options: UpOptions, env: Mapping[str, str], name: str, arguments: tuple[str, ...], ready_url: str = ""
) -> Program:
    grace = GRACE_S[name.partition("-")[0]]
    program = Program(name, (*options.command, *arguments), env, grace_s=grace, switches_level=True)
    return dataclasses.replace(program, ready=lambda pid: answers_200(ready_url)) if ready_url else program


def answers_200(url: str) -> bool:
    """Whether GET `url` answers 200 within a second. Proxies of the environment are not asked: it is this
    machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=READY_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
