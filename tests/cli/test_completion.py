"""A shell completes commands and options."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("typed", "number", "offered"), [("lovage mod", 1, "models"), ("lovage queue pa", 2, "pause")]
)
def test_a_shell_completes_commands(typed: str, number: int, offered: str) -> None:
    completion = {"_LOVAGE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(number)}
    command = [Path(sys.executable).with_name("lovage")]
    done = subprocess.run(
        command, env={**os.environ, **completion}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [offered]
