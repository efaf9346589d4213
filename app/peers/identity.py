"""The peer's key: made once, kept in a file that nobody else reads."""

import os
import secrets
from pathlib import Path
from typing import Any

from libp2p.crypto.ed25519 import create_new_key_pair

SEED_BYTES = 32


class BadIdentity(Exception):
    """The file cannot be used; a sentence."""


def load_or_make(file: Path) -> Any:
    """An Ed25519 key pair. Raises BadIdentity."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            _write(file, secrets.token_hex(SEED_BYTES))
        if file.stat().st_mode & 0o077:
            raise BadIdentity(f"{file} can be read by others: chmod 600 it, or remove it for a new identity")
        seed = bytes.fromhex(file.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise BadIdentity(f"{file} cannot be used: {error}") from error
    if len(seed) != SEED_BYTES:
        raise BadIdentity(f"{file} is no key of {SEED_BYTES} bytes")
    return create_new_key_pair(seed)


def write_private(file: Path, text: str) -> None:
    """Puts it in the place of what is there, readable by the owner alone."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    _write(part, text)
    part.rename(file)


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
