"""Buildah and Podman over a store of their own, as root, on machines without systemd.

Knows how they are called; knows no image and no service of Lovage.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Packages come from where this machine's pip takes them. Its settings, and the files that they name, are
# given to a build and are in no image.
PIP_FILES = ("/etc/pip.conf",)
CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
FOLDERS = ("PIP_FIND_LINKS",)
# Limits, because the engine's defaults ask for more than a container may raise where this runs in a container
# itself; no systemd.
CONFIGURATION = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4000:4000"]
cgroups = "no-conmon"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


class EngineFailed(Exception):
    """A call of Buildah or Podman that failed: the command and the end of what it said."""


def called(command: Sequence[str], seconds: float = 600, text: str | None = None, **env: str) -> str:
    """The command's standard output. Raises EngineFailed."""
    environment = {**os.environ, **env}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds, env=environment, input=text
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"{' '.join(command)}\nstill ran after {seconds:g} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise EngineFailed(f"{' '.join(command)}\nexit code {done.returncode}: {said}")
    return done.stdout


def pip_options() -> list[str]:
    """What a build is given so that pip in it works as it does here."""
    options = []
    for name in PIP_FILES:
        if Path(name).is_file():
            options += ["--volume", f"{name}:{name}:ro"]
    for name in (*CERTIFICATES, *FOLDERS):
        if (value := os.environ.get(name)) and Path(value).exists():
            options += ["--volume", f"{value}:{value}:ro"]
    for name, value in os.environ.items():
        if name.startswith("PIP_") or name in CERTIFICATES:
            options += ["--env", f"{name}={value}"]
    return options


@dataclass(frozen=True, slots=True)
class Engine:
    """A store of images and containers in `folder`."""

    folder: Path
    driver: str = "overlay"

    def _places(self) -> list[str]:
        return [
            "--root",
            str(self.folder / "root"),
            "--runroot",
            str(self.folder / "run"),
            "--storage-driver",
            self.driver,
        ]

    def podman(self, *arguments: str, seconds: float = 600, text: str | None = None) -> str:
        """One call of podman. Raises EngineFailed."""
        configuration = self.folder / "containers.conf"
        if not configuration.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            configuration.write_text(CONFIGURATION)
        command = ["podman", *self._places(), *arguments]
        return called(command, seconds, text, CONTAINERS_CONF=str(configuration)).strip()

    def build(
        self, tag: str, dockerfile: Path, context: Path, args: Mapping[str, str] | None = None
    ) -> float:
        """Builds an image; the seconds it took. What a build needs and the image must not hold is mounted."""
        began = time.monotonic()
        given = [part for name, value in (args or {}).items() for part in ("--build-arg", f"{name}={value}")]
        ways = ["--isolation", "chroot", "--format", "docker", "--pull=never", "--layers"]
        command = ["buildah", *self._places(), "bud", *ways, *pip_options(), *given]
        called([*command, "--tag", tag, "--file", str(dockerfile), str(context)], seconds=3000)
        return time.monotonic() - began

    def has_image(self, tag: str) -> bool:
        try:
            self.podman("image", "exists", tag)
        except EngineFailed:
            return False
        return True

    def image(self, tag: str) -> dict[str, Any]:
        """What `podman image inspect` says."""
        found: dict[str, Any] = json.loads(self.podman("image", "inspect", tag))[0]
        return found

    def container(self, name: str) -> dict[str, Any]:
        """What `podman inspect` says."""
        found: dict[str, Any] = json.loads(self.podman("inspect", name))[0]
        return found

    def inside(self, name: str, *command: str, seconds: float = 60) -> str:
        """A command in a running container. Raises EngineFailed."""
        return self.podman("exec", name, *command, seconds=seconds)

    def kill(self, name: str) -> None:
        """SIGKILL to the container's first process, as the kernel does when memory is short: nobody asked for
        it, so a restart policy applies."""
        os.kill(self.container(name)["State"]["Pid"], signal.SIGKILL)
