"""What `lovage up` starts, and with which settings."""

from pathlib import Path

import pytest

from app.local.composition import (
    Connections,
    UpOptions,
    environment,
    exposure_notice,
    gateway_program,
    platform_programs,
)


@pytest.mark.parametrize(
    ("first", "ports"), [("9464", ["9464", "9465", "9466"]), ("0", ["0"] * 3), ("", [""] * 3)]
)
def test_every_worker_and_the_courier_have_a_health_port_of_their_own(first: str, ports: list[str]) -> None:
    options = UpOptions(Path("x"), "127.0.0.1", 8000, 5555, ("cpu", "cpu"), "", "", {})
    programs = platform_programs(options, {"HEALTH_PORT": first})
    assert ports == [
        program.env["HEALTH_PORT"] for program in programs if program.name.startswith(("worker", "courier"))
    ]


def started_on(host: str, **env: str) -> tuple[dict[str, str], str]:
    """The programs' environment, and the sentence on the screen."""
    options = UpOptions(Path("x"), host, 8000, env=env)
    return environment(options, Connections("d", "r", "s", "f")), exposure_notice(options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.7"])
def test_on_loopback_a_developer_is_not_limited_and_not_warned(host: str) -> None:
    env, notice = started_on(host)
    assert (env["ALLOW_PRIVATE_ADDRESSES"], env["RATE_LIMIT_CALLS"], notice) == ("true", "off", "")
    assert "ALLOW_REGISTRATION" not in env, "open, as in development"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu-box"])
def test_where_others_can_call_it_is_closed_and_says_so(host: str) -> None:
    env, notice = started_on(host, ALLOW_REGISTRATION="")
    assert (env["ALLOW_PRIVATE_ADDRESSES"], env["ALLOW_REGISTRATION"]) == ("false", "false")
    assert "RATE_LIMIT_CALLS" not in env, "production's"
    for name in ("ALLOW_REGISTRATION", "ALLOW_PRIVATE_ADDRESSES", "RATE_LIMIT_CALLS"):
        assert name in notice


def test_what_was_asked_for_is_done_and_not_said_to_be_closed() -> None:
    env, notice = started_on("0.0.0.0", ALLOW_REGISTRATION="true", ALLOW_PRIVATE_ADDRESSES="true")
    assert (env["ALLOW_PRIVATE_ADDRESSES"], env["ALLOW_REGISTRATION"]) == ("true", "true")
    assert "Other machines can reach" in notice
    assert "registration" not in notice
    assert "private" not in notice


def test_the_gateway_worker_is_left_out_where_backends_are_switched_off() -> None:
    options = UpOptions(Path("x"), "127.0.0.1", 8000, devices=("cpu", "cpu"))
    gateway = gateway_program(options, {"HEALTH_PORT": "9464"})
    assert gateway
    assert (gateway.argv[-2:], gateway.env["HEALTH_PORT"]) == (("worker", "--backends"), "9467")
    assert gateway_program(options, {"ENABLE_BACKENDS": "false"}) is None
