"""Folders with requirements of their own: what they name is installed into an environment that all versions
with the same requirements share, and their processes are forked by a server that has only that environment's
libraries before the worker's. So two folders may need two versions of one library.

Knows files, `uv` and fork servers; nothing of what a model does.
"""

import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from app.domain.errors import ModelUnavailable
from app.domain.work import ModelSpec
from app.engine.fork_client import ForkServerClient

log = logging.getLogger(__name__)

RUNTIME = "python"
FILES = ("requirements.txt", "pyproject.toml")
BUILD_SECONDS = 900.0
BUILD_LOG = "build.log"
# Servers of environments that have no process are ended when there are more than this.
MOST_IDLE_SERVERS = 3
SENTENCE_LENGTH = 600
# What the installer sees of the worker's environment: where packages come from, and no password of ours.
PASSED: tuple[str, ...] = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
PASSED += ("http_proxy", "https_proxy", "no_proxy", "XDG_CACHE_HOME")
PASSED_PREFIXES = ("UV_", "PIP_")


class Environments:
    """Thread-safe. `usual` forks whatever has no requirements; `folder`: where environments lie, "": folders
    with requirements are refused."""

    def __init__(self, folder: str, usual: ForkServerClient, threads: int) -> None:
        self._folder = Path(folder) if folder else None
        self.usual, self._threads = usual, threads
        self._lock = threading.Lock()
        self._building: dict[str, threading.Lock] = {}
        self._servers: dict[str, ForkServerClient] = {}

    def client_for(self, spec: ModelSpec) -> ForkServerClient:
        """The fork server for a version. Its environment is built when it is not there: minutes. Raises
        ModelUnavailable with the end of what the installer said."""
        file = requirements_file(spec)
        if file is None:
            return self.usual
        if self._folder is None:
            raise ModelUnavailable(f"{file.name}: this worker keeps no environments")
        name = environment_name(file)
        with self._lock:
            building = self._building.setdefault(name, threading.Lock())
        with building:
            build(file, self._folder / name)
        return self._server(name, self._folder / name)

    def _server(self, name: str, environment: Path) -> ForkServerClient:
        with self._lock:
            if name not in self._servers:
                self._end_idle()
                server = ForkServerClient((), self._threads, first_path=str(environment))
                self._servers[name] = server
                server.start()
            return self._servers[name]

    def _end_idle(self) -> None:
        idle = [name for name, server in self._servers.items() if server.is_idle]
        for name in idle[: max(0, len(idle) - MOST_IDLE_SERVERS + 1)]:
            self._servers.pop(name).stop()

    def stop(self) -> None:
        """Ends its servers and, with them, their model processes."""
        with self._lock:
            servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.stop()


def requirements_file(spec: ModelSpec) -> Path | None:
    """The file by which a folder of code says what it needs; None where there is none."""
    if spec.runtime != RUNTIME or not spec.path:
        return None
    return next((file for name in FILES if (file := Path(spec.path) / name).is_file()), None)


def environment_name(file: Path) -> str:
    """One for the same requirements on the same Python; the folder counts where they name files in it."""
    text = file.read_text("utf-8")
    parts = [file.name, text, sys.version, platform.platform()]
    if any(mark in text for mark in ("./", "file:", "--find-links", "-f ", "-e ", "-r ", "-c ")):
        parts.append(str(file.parent))
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def build(file: Path, environment: Path) -> None:
    """Installs what the file names into a folder of packages; does nothing where it is there. Raises
    ModelUnavailable."""
    if environment.is_dir():
        return
    part = environment.with_name(f"{environment.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = [*installer(), "pip", "install", "--python", sys.executable, "--target", str(part)]
    log.info("installing %s of %s", file.name, file.parent.name)
    try:
        process = subprocess.run(
            [*command, "-r", file.name],
            cwd=file.parent,
            env=_installer_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
        words = (process.stdout + process.stderr).replace(str(part), environment.name)
        log.info("%s of %s: %s", file.name, file.parent.name, words.strip())
        if process.returncode:
            last = " ".join(words.replace(str(file.parent), ".").split())[-SENTENCE_LENGTH:]
            raise ModelUnavailable(f"its {file.name} cannot be installed: {last}")
        (part / BUILD_LOG).write_text(words, "utf-8")
        part.rename(environment)
    except subprocess.TimeoutExpired:
        raise ModelUnavailable(f"installing its {file.name} took longer than {BUILD_SECONDS:g} s") from None
    except OSError as error:
        if not environment.is_dir():  # another worker of this machine may have been faster
            raise ModelUnavailable(f"its {file.name} cannot be installed: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def installer() -> list[str]:
    """The command of uv. Raises ModelUnavailable where it is not installed."""
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if command := shutil.which("uv"):
        return [command]
    raise ModelUnavailable("a folder with requirements needs uv on the worker: pip install uv")


def _installer_environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    }
    return {**kept, "UV_NO_PROGRESS": "1", "PYTHONPATH": _uv_path()}


def _uv_path() -> str:
    """Where the package uv lies, so that the interpreter finds it however this one did."""
    package = importlib.util.find_spec("uv")
    return str(Path(package.origin).parents[1]) if package and package.origin else ""
