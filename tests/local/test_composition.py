"""What `lovage up` starts, and with which settings."""

from pathlib import Path

import pytest

from app.local.composition import UpOptions, platform_programs


@pytest.mark.parametrize(
    ("first", "ports"), [("9464", ["9464", "9465", "9466"]), ("0", ["0"] * 3), ("", [""] * 3)]
)
def test_every_worker_and_the_courier_have_a_health_port_of_their_own(first: str, ports: list[str]) -> None:
    options = UpOptions(Path("x"), "127.0.0.1", 8000, 5555, ("cpu", "cpu"), "", "", {})
    programs = platform_programs(options, {"HEALTH_PORT": first})
    assert ports == [
        program.env["HEALTH_PORT"] for program in programs if program.name.startswith(("worker", "courier"))
    ]
