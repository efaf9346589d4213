"""`make bench`, `make chaos` and `make soak` end what they have started when they are stopped."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launching import REPO

from scripts.own_platform import TERMINATED

# Cleans up for a while, as ending a platform does, and gets a second signal meanwhile.
WORKS = """
import signal, sys, time
from scripts.own_platform import terminable
with terminable():
    try:
        print("works", flush=True)
        time.sleep(60)
    finally:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.3)
        open(sys.argv[1], "w").write("ended in order")
"""
STARTS_ANOTHER = """
import sys
from scripts.bench.__main__ import status_of
status_of([sys.executable, "-c", sys.argv[2], sys.argv[1]], {})
"""


@pytest.mark.parametrize("program", [WORKS, STARTS_ANOTHER])
def test_sigterm_lets_a_script_end_its_platform_first(program: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(note), WORKS], cwd=REPO, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "works\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == TERMINATED
    assert note.read_text() == "ended in order"
    process.stdout.close()
