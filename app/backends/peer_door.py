"""Where this machine's own peer process is reached: it writes that into the platform's folder when it is
ready. Knows no peer."""

import json
from dataclasses import dataclass, field
from pathlib import Path

PEER_FOLDER = "peer"
DOOR_FILE = "control.json"
NO_PEER = "has no peer process: `lovage up` starts one with ENABLE_P2P, elsewhere `lovage peer` does"


@dataclass(frozen=True, slots=True)
class PeerDoor:
    """On loopback; `token` opens it."""

    url: str
    token: str = field(repr=False)


def find_door(folder: Path) -> PeerDoor | None:
    """None: no peer process runs with this folder."""
    try:
        values = json.loads((folder / PEER_FOLDER / DOOR_FILE).read_text("utf-8"))
        return PeerDoor(str(values["url"]), str(values["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
