"""The compose file's platform, service by service, as `docker compose up` would start it.

Every option comes from the file. It waits where the file says so: for a health check, which it runs itself
(Podman's own timers need systemd), or for a service that ends. Knows the file and the engine; knows nothing
of predictions.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.images.build import full_name
from scripts.images.compose_file import COMPLETED, HEALTHY, ROOT, ComposeFile, Service
from scripts.images.podman import Engine, EngineFailed

READY_SECONDS = 180.0
PROJECT = "lovage"


class NotStarted(Exception):
    """A service that did not become what others wait for; with the end of its log."""


@dataclass
class Composed:
    """One platform: `start`, then `stop`. Containers are called SERVICE-1, SERVICE-2, …"""

    engine: Engine
    compose: ComposeFile
    folder: Path
    profiles: tuple[str, ...]
    scale: dict[str, int] = field(default_factory=dict)
    only: tuple[str, ...] = ()

    @cached_property
    def services(self) -> list[Service]:
        """Those to be started: of the profiles, of `only` if there is any, and with an image that is here."""
        chosen = [one for one in self.compose.chosen(self.profiles) if not self.only or one.name in self.only]
        return [one for one in chosen if self.engine.has_image(full_name(one.image))]

    def containers(self) -> Iterator[tuple[str, Service]]:
        """The names of those that stay, with their services."""
        for service in self.services:
            if not service.ends:
                for number in range(1, self.scale.get(service.name, 1) + 1):
                    yield f"{service.name}-{number}", service

    def start(self) -> None:
        """Networks, then every service after those that it depends on. Raises NotStarted."""
        for name, internal in self.compose.networks.items():
            ways = ["--internal"] if internal else []
            self.engine.podman("network", "create", *ways, f"{PROJECT}_{name}")
        for service in self.services:
            for other, condition in service.depends_on.items():
                if not self.only or other in self.only:
                    self._wait(self.compose.services[other], condition)
            self.start_service(service)
        for name, service in self.containers():
            self.wait_healthy(name, service)

    def start_service(self, service: Service) -> None:
        """As many containers as it is to have; those that are there stay."""
        for number in range(1, self.scale.get(service.name, 1) + 1):
            name = f"{service.name}-{number}"
            if not self._exists(name):
                self.engine.podman(
                    "run", "--detach", "--name", name, *self.options(service), *_command(service)
                )

    def options(self, service: Service, *, networks: bool = True) -> list[str]:
        """What the file says of its containers, as options of `podman run`."""
        given = service.options
        made = ["--no-healthcheck"]
        made += ["--read-only", "--read-only-tmpfs=false"] if given.get("read_only") else []
        for option, key in (("--cap-drop", "cap_drop"), ("--cap-add", "cap_add"), ("--tmpfs", "tmpfs")):
            made += [part for value in given.get(key, ()) for part in (option, value)]
        if "no-new-privileges:true" in given.get("security_opt", ()):
            made += ["--security-opt", "no-new-privileges"]
        made += ["--shm-size", given["shm_size"]] if "shm_size" in given else []
        made += ["--restart", given["restart"]] if given.get("restart") == "unless-stopped" else []
        made += list(_limits(service)) + list(self._mounts(service))
        made += ["--env-file", str(self._variables(service))]
        if service.entrypoint:
            made += ["--entrypoint", service.entrypoint[0]]
        return [*made, *(self._connections(service) if networks else ["--network", "none"])]

    def _connections(self, service: Service) -> Iterator[str]:
        for network in service.networks:
            yield from ("--network", f"{PROJECT}_{network}:alias={service.name}")
        for host, container in service.ports:
            yield from ("--publish", f"{host}:{container}")

    def _mounts(self, service: Service) -> Iterator[str]:
        for source, target, only_read in service.volumes:
            is_path = source.startswith((".", "/"))
            place = str((ROOT / source).resolve()) if is_path else f"{PROJECT}_{source}"
            if is_path and not Path(place).exists():
                place = str(self._made(source))
            yield from ("--volume", f"{place}:{target}" + (":ro" if only_read else ""))
        for target, content in service.configs:
            path = self.folder / f"config-{service.name}-{Path(target).name}"
            path.write_text(content)
            yield from ("--volume", f"{path}:{target}:ro")

    def _made(self, source: str) -> Path:
        """An empty folder in place of one that docker would make; not in the checkout."""
        path = self.folder / source.strip("./").replace("/", "-")
        path.mkdir(exist_ok=True)
        return path

    def _variables(self, service: Service) -> Path:
        path = self.folder / f"env-{service.name}"
        path.write_text("".join(f"{name}={value}\n" for name, value in service.environment.items()))
        path.chmod(0o600)
        return path

    def _exists(self, name: str) -> bool:
        try:
            self.engine.podman("container", "exists", name)
        except EngineFailed:
            return False
        return True

    def _wait(self, service: Service, condition: str) -> None:
        name = f"{service.name}-1"
        if condition == HEALTHY:
            self.wait_healthy(name, service)
        elif condition == COMPLETED:
            code = self.engine.podman("wait", name)
            if code != "0":
                raise NotStarted(f"{name} ended with exit code {code}\n{self.log(name)}")

    def wait_healthy(self, name: str, service: Service, seconds: float = READY_SECONDS) -> None:
        """Until its health check succeeds, or at once where it has none. Raises NotStarted."""
        command = self.health_command(service)
        until, said = time.monotonic() + seconds, ""
        while command and time.monotonic() < until:
            try:
                self.engine.inside(name, *command)
                return
            except EngineFailed as error:
                said = str(error)
                time.sleep(0.5)
        if command:
            raise NotStarted(f"{name} is not healthy after {seconds:g} s: {said}\n{self.log(name)}")

    def health_command(self, service: Service) -> tuple[str, ...]:
        """The file's own check, or the image's."""
        if service.health is not None:
            return service.health
        kind, *command = (
            self.engine.image(full_name(service.image)).get("HealthCheck", {}).get("Test", ["NONE"])
        )
        if kind == "NONE":
            return ()
        return ("sh", "-c", *command) if kind == "CMD-SHELL" else tuple(command)

    def revive(self, name: str) -> bool:
        """Whether it came back by itself; if not, it is started."""
        until = time.monotonic() + 5
        while time.monotonic() < until:
            if self.engine.container(name)["State"]["Running"]:
                return True
            time.sleep(0.3)
        self.engine.podman("start", name)
        return False

    def address(self, name: str) -> str:
        """An address of the container that this machine reaches."""
        networks = self.engine.container(name)["NetworkSettings"]["Networks"]
        found = networks.get(f"{PROJECT}_outside") or next(iter(networks.values()))
        return str(found["IPAddress"])

    def log(self, name: str, lines: int = 30) -> str:
        """The end of what it said."""
        try:
            return self.engine.podman("logs", "--tail", str(lines), name)
        except EngineFailed as error:
            return str(error)

    def stop(self) -> None:
        """Removes containers, networks and volumes, as `docker compose down --volumes` does."""
        names = [f"{service.name}-{number}" for service in self.services for number in (1, 2)]
        for command in (
            ("rm", "--force", "--ignore", "--time", "5", *names),
            ("network", "rm", "--force", *(f"{PROJECT}_{name}" for name in self.compose.networks)),
            ("volume", "prune", "--force"),
        ):
            try:
                self.engine.podman(*command)
            except EngineFailed as error:
                print(f"not tidied up: {error}")


def _limits(service: Service) -> Iterator[str]:
    limits = service.options.get("deploy", {}).get("resources", {}).get("limits", {})
    if limits.get("memory"):
        yield from ("--memory", str(limits["memory"]))
    if float(limits.get("cpus") or 0):
        yield from ("--cpus", str(limits["cpus"]))


def _command(service: Service) -> list[str]:
    return [full_name(service.image), *service.entrypoint[1:], *service.command]
