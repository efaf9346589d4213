"""Debug lines are switched on and off by a signal, while the process runs."""

import subprocess
import sys

PROGRAM = """
import os, signal, threading
import structlog
from app.observe import log_level, logs

logs.configure("json", "warning")
log_level.switch_on_signal("warning")
log = structlog.get_logger("one")
for turn in range(3):
    log.debug("detail", turn=turn)
    log.warning("trouble", turn=turn)
    os.kill(os.getpid(), signal.SIGUSR2)
    [thread.join() for thread in threading.enumerate() if thread is not threading.main_thread()]
"""


def test_a_signal_lets_debug_lines_through_and_the_next_one_stops_them() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if "log_level" not in line]
    assert ["detail" in line for line in lines] == [False, True, False, False]
    said = [line for line in done.stderr.splitlines() if "log_level" in line]
    assert ['"now": "debug"' in line for line in said] == [True, False, True]
