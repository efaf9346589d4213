"""Peers as processes of their own, with the Python that has libp2p, and what is asked of them."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.backends.peer_door import DOOR_FILE
from app.peers import launcher

PYTHON = os.environ.get("LOVAGE_P2P_PYTHON") or sys.executable
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
START_SECONDS = 60.0  # a busy machine imports libp2p for seconds
Message = dict[str, Any]


@dataclass
class PeerNode:
    """A running one. `said` are the lines of its log."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    name: str
    id: str = ""
    addresses: list[str] = field(default_factory=list)
    said: "queue.Queue[Message]" = field(default_factory=queue.Queue)

    def wait_ready(self) -> "PeerNode":
        ready = self.said.get(timeout=START_SECONDS)
        assert ready["event"] == "peer_ready", ready
        self.id, self.addresses = ready["id"], ready["addresses"]
        return self

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.put(json.loads(line))
        self.said.put({"event": "ended"})

    def client(self, timeout: float = 60.0) -> httpx.Client:
        door = json.loads((self.folder / DOOR_FILE).read_text("utf-8"))
        headers = {"Authorization": f"Bearer {door['token']}"}
        return httpx.Client(base_url=door["url"], headers=headers, timeout=timeout, trust_env=False)

    def overview(self) -> Message:
        with self.client() as client:
            return dict(client.get("/peers").raise_for_status().json())

    def peer(self, name: str) -> Message:
        """What it knows of another; {} for nothing."""
        return next((each for each in self.overview()["peers"] if each["name"] == name), {})

    def reaches(self, *names: str) -> bool:
        """Whether all of them are reachable and say what they offer."""
        peers = {each["name"]: each for each in self.overview()["peers"]}
        return all(
            name in peers and peers[name]["state"] == "reachable" and peers[name]["models"] for name in names
        )

    @contextmanager
    def asking(self, model: str, values: Message, *only: str) -> Iterator[Iterator[Message]]:
        """The messages of a prediction; leaving the block hangs up."""
        body = {"model": model, "input": values, "peers": only}
        with self.client() as client, client.stream("POST", "/predictions", json=body) as answer:
            yield (json.loads(line) for line in answer.raise_for_status().iter_lines())

    def ask(self, model: str, values: Message, *only: str) -> list[Message]:
        """All of them, without the signs of life."""
        with self.asking(model, values, *only) as messages:
            return [each for each in messages if "alive" not in each]


def start_node(folder: Path, name: str, **options: Any) -> PeerNode:
    """Not ready yet."""
    command = [PYTHON, "-I", str(launcher.MAIN)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    own = {"folder": str(folder), "name": name, "listen": [LOOPBACK], **options}
    assert process.stdin
    process.stdin.write(json.dumps(own).encode() + b"\n")
    process.stdin.flush()
    node = PeerNode(process, folder, name)
    threading.Thread(target=node.read, daemon=True).start()
    return node
