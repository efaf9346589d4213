"""Starts the peer's own process with what the settings say, and ends with it. Runs in Lovage's Python."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger("lovage.peer")

MAIN = Path(__file__).with_name("__main__.py")
GRACE_SECONDS = 10.0
NEEDED = ("libp2p", "h11", "httpx")
CHECK = "import sys; from importlib.util import find_spec; sys.exit(None in map(find_spec, sys.argv[1:]))"
CHECK_SECONDS = 30.0
KEPT = ("PATH", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE")
MISSING = (
    "Peers need the extra p2p: pip install 'lovage[p2p]', or name a Python that has it in P2P_PYTHON (beside"
    " the extra grpc it needs an environment of its own)."
)


def has_packages(python: str) -> bool:
    """Whether this Python has what a peer needs. Nothing of it is imported."""
    try:
        command = [python, "-I", "-c", CHECK, *NEEDED]
        return subprocess.run(command, timeout=CHECK_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run_peer(options: Mapping[str, Any], python: str) -> int:
    """Until it ends or this process is asked to. Answers the exit code."""
    if not has_packages(python):
        print(f"lovage: {MISSING}", file=sys.stderr)
        return 2
    process = _start([python, "-I", str(MAIN)])
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(options).encode() + b"\n")
    process.stdin.flush()
    ended = _end_on_signals(process)
    for line in process.stdout:
        _pass_on(line)
    code = process.wait()
    return 0 if ended.is_set() else code or 1


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """It ends when its standard input does, however we end."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )


def _end_on_signals(process: subprocess.Popen[bytes]) -> threading.Event:
    """Set once somebody has asked this process to end."""
    ended = threading.Event()

    def end(*_: object) -> None:
        if not ended.is_set():
            ended.set()
            assert process.stdin
            process.stdin.close()
            timer = threading.Timer(GRACE_SECONDS, process.kill)
            timer.daemon = True
            timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return ended


def _pass_on(line: bytes) -> None:
    """What the node says, as a line of this process's log."""
    try:
        fields = json.loads(line)
        event = fields.pop("event")
    except (ValueError, AttributeError, KeyError):
        log.info("peer_says", line=line.decode("utf-8", "replace").strip()[:500])
    else:
        (log.info if event in ("peer_ready", "peer_reached") else log.warning)(event, **fields)
