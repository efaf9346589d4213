"""The whole platform as `lovage up` starts it, in a folder and on ports of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import eventually

from app.local.platform_state import Platform, read_platform
from app.local.ports import choose_port, is_free


@dataclass
class UpPlatform:
    """`lovage up --detach` and what a user has then: a URL and a key."""

    folder: Path
    port: int
    flower_port: int
    health_ports: tuple[int, int]  # of the worker and, beside it, the courier
    more: dict[str, str] = field(default_factory=dict)  # of the environment

    @classmethod
    def in_folder(cls, folder: Path) -> "UpPlatform":
        health = next(port for port in iter(choose_port, 0) if is_free(port + 1))
        return cls(folder, choose_port(), choose_port(), (health, health + 1))

    def lovage(
        self, *arguments: str, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs `lovage …` against this platform."""
        own = {"MODEL_ROOTS": str(self.roots), "HEALTH_PORT": str(self.health_ports[0]), **self.more}
        env = {**os.environ, **own, "LOVAGE_DATA_DIR": str(self.folder), "NO_COLOR": "1", "COLUMNS": "200"}
        command = [sys.executable, "-m", "app", *arguments]
        return subprocess.run(
            command, env=env, cwd=cwd, capture_output=True, text=True, timeout=240, check=check
        )

    def process_env(self, **more: str) -> dict[str, str]:
        """Of another process of this platform, started by hand."""
        state = self.state
        own = {
            "LOVAGE_ENV": "development",
            "DATABASE_URL": state.database_url,
            "REDIS_URL": state.redis_url,
            "SECRET_KEY": state.secret_key,
            "LOVAGE_DATA_DIR": str(self.folder),
        }
        return {**os.environ, **own, **more}

    @contextmanager
    def another_api(self, **more: str) -> Iterator[str]:
        """Another API process of this platform; its URL."""
        port = choose_port()
        command = [sys.executable, "-m", "app", "api", "--port", str(port)]
        process = subprocess.Popen(
            command, env=self.process_env(**more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/health", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        try:
            eventually(answers, 30)
            yield url
        finally:
            process.terminate()
            process.wait(20)

    @property
    def roots(self) -> Path:
        """Where the models of a test lie; `path:` sources may point into it."""
        return self.folder / "roots"

    def up(self) -> str:
        """Starts it and returns what it printed."""
        ports = ("--port", str(self.port), "--flower-port", str(self.flower_port))
        done = self.lovage("up", "--detach", *ports, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> None:
        self.lovage("down", check=False)

    @property
    def state(self) -> Platform:
        found = read_platform(self.folder)
        assert found is not None, "the platform does not run"
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.folder / "key").read_text().strip()

    def client(self, **headers: str) -> httpx.Client:
        """An HTTP client with the admin's key."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}", **headers},
            timeout=90,
            trust_env=False,
        )

    def kill(self) -> list[psutil.Process]:
        """SIGKILL to `lovage up` itself; returns the processes that it had."""
        launcher = psutil.Process(self.state.pid)
        family = launcher.children(recursive=True)
        os.kill(launcher.pid, signal.SIGKILL)
        return family


def wait_all(client: httpx.Client, ids: list[str], seconds: float = 120) -> list[dict[str, Any]]:
    """The predictions, once all of them have ended."""
    ended: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        for one in ids:
            if one not in ended:
                found = client.get(f"/v1/predictions/{one}").json()
                if found["status"] in ("succeeded", "failed", "canceled"):
                    ended[one] = found
        return len(ended) == len(ids)

    eventually(look, seconds)
    return [ended[one] for one in ids]
