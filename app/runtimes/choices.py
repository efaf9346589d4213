"""What was chosen by measuring when a version was loaded, kept in a folder of the worker for later loads.

A choice holds for one version on one kind of device, with as many threads and the same libraries.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from app.domain.work import ModelSpec


def file_for(model: ModelSpec, *about: str) -> Path | None:
    """Where the choice of `about` belongs; None: nothing is kept."""
    import torch

    if not model.choices:
        return None
    parts = (
        model.version,
        _name_of(model.device),
        str(model.threads),
        str(os.cpu_count()),
        os.uname().machine,
    )
    key = "\n".join((*parts, torch.__version__, *about))
    return Path(model.choices) / f"{about[0]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _name_of(device: str) -> str:
    """The card's own name: another one of the same kind chooses alike."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def read(file: Path | None) -> dict[str, Any] | None:
    """What was kept; None for nothing, or nothing that can be read."""
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(file.read_text("utf-8")) if file else None
        return kept if isinstance(kept, dict) else None
    return None


def keep(file: Path | None, choice: dict[str, Any]) -> None:
    """A half-written file is never read by another process; a full disk only means measuring again."""
    with contextlib.suppress(OSError):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(choice), "utf-8")
            part.replace(file)
