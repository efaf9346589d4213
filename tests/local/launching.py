"""Real launchers in processes of their own for the tests of `app/local`, and a look at what they leave
behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

REPO = Path(__file__).parents[2]
FAKE_APP = Path(__file__).with_name("fake_app.py")

SERVERS = """
import sys, time
from app.local.embedded import EmbeddedServers
servers = EmbeddedServers(sys.argv[1])
urls = servers.start()
print(urls.database_url, urls.redis_url, flush=True)
time.sleep(600)
"""

UP = """
import json, os, sys
from pathlib import Path
from app.local.up import Hooks, UpOptions, up
options = json.loads(sys.argv[1])
options["data_dir"] = Path(options["data_dir"])
options["env"] = {**os.environ, **options.get("env", {})}
hooks = Hooks(
    self_check=lambda platform: {"checked": platform.api_url},
    print_screen=lambda platform, report: print("SCREEN", platform.pid, report["checked"], flush=True),
)
sys.exit(up(UpOptions(**options, command=(sys.executable, sys.argv[2])), hooks))
"""


def processes_of(data_dir: Path) -> list[str]:
    """Every process that works in, was called with `data_dir`, or has it in its environment."""
    processes = []
    for process in psutil.process_iter():
        try:
            about = (process.cwd(), *process.cmdline(), *process.environ().values())
            if process.status() != psutil.STATUS_ZOMBIE and any(str(data_dir) in text for text in about):
                processes.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return processes


class Launchers:
    """Starts launchers; ends what a failed test left."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def servers(self, data_dir: Path) -> subprocess.Popen[str]:
        return self._start(SERVERS, str(data_dir))

    def up(self, **options: Any) -> subprocess.Popen[str]:
        text = json.dumps({**options, "data_dir": str(options["data_dir"])})
        return self._start(UP, text, str(FAKE_APP))

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", *arguments],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process
