"""`secrets.json`: the ports, passwords and keys of one data directory, made once and kept in a file of mode
0600.

Knows how to make, keep and change them so that a kill at any moment leaves the old file or the new one. Does
not know what each is used for.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from pathlib import Path

from app.local.errors import LocalError
from app.local.ports import choose_port

FILE_NAME = "secrets.json"


@dataclasses.dataclass(frozen=True)
class Secrets:
    """Everything that one data directory keeps to itself. Ports may change between starts, the rest never
    does."""

    postgres_port: int
    postgres_password: str
    valkey_port: int
    valkey_password: str
    secret_key: str
    flower_password: str


def make_secrets() -> Secrets:
    """New ones: 32 random bytes each, in an alphabet that needs no quoting in URLs or config files."""
    first = choose_port()
    second = next(port for port in iter(choose_port, None) if port != first)
    return Secrets(
        postgres_port=first,
        postgres_password=secrets.token_hex(32),
        valkey_port=second,
        valkey_password=secrets.token_hex(32),
        secret_key=secrets.token_hex(32),
        flower_password=secrets.token_urlsafe(12),
    )


def load_or_make(data_dir: Path) -> Secrets:
    """The secrets of `data_dir`, created now if there are none. Raises LocalError for a file that is not
    ours."""
    path = data_dir / FILE_NAME
    try:
        return Secrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        fresh = make_secrets()
        save(data_dir, fresh)
        return fresh
    except PermissionError as error:
        raise LocalError(
            f"{path} belongs to another user: start Lovage as that user, or use another folder (--data)."
        ) from error
    except (ValueError, TypeError) as error:
        raise LocalError(
            f"{path} cannot be read ({error}): put the original back; the database's password is in it."
        ) from error


def save(data_dir: Path, values: Secrets) -> None:
    """Replace the file in one step."""
    write_private(data_dir / FILE_NAME, json.dumps(dataclasses.asdict(values), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write `path` with mode 0600 in one step: readers and the next start see the old text or the new one,
    whole."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
