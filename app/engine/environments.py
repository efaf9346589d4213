"""Folders with requirements of their own: what they name is installed into an environment that all versions
with the same requirements share, and their processes are forked by a server that has only that environment's
libraries before the worker's. So two folders may need two versions of one library.

Knows files, `uv` and fork servers; nothing of what a model does.
"""

import threading
from pathlib import Path

from app.domain.errors import ModelUnavailable
from app.domain.work import ModelSpec
from app.engine.fork_client import ForkServerClient
from app.package_environment import InstallFailed, environment_name, install_beside

RUNTIME = "python"
FILES = ("requirements.txt", "pyproject.toml")
# Servers of environments that have no process are ended when there are more than this.
MOST_IDLE_SERVERS = 3


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


def build(file: Path, environment: Path) -> None:
    """Installs what the file names into a folder of packages; does nothing where it is there. Raises
    ModelUnavailable."""
    try:
        install_beside(file, environment)
    except InstallFailed as error:
        raise ModelUnavailable(f"its {file.name} {error}") from error
