"""Models, keys, files and webhook secrets, step by step, for both clients."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lovage.flow import Flow, Request, create, send

Json = dict[str, Any]


def model_path(name: str) -> str:
    """Of `owner/name`."""
    return "/v1/models/" + "/".join(quote(part, safe="") for part in name.split("/"))


def create_model(name: str, values: Mapping[str, Any]) -> Flow[Json]:
    """`name` as `owner/name` or a bare name."""
    owner, _, own = name.rpartition("/")
    body = {"name": own, **({"owner": owner} if owner else {}), **values}
    model: Json = yield from send(create("/v1/models", body))
    return model


def create_version(name: str, values: Mapping[str, Any]) -> Flow[Json]:
    """A version of a model: source, runtime, task, config."""
    version: Json = yield from send(create(f"{model_path(name)}/versions", dict(values)))
    return version


def delete(path: str) -> Flow[None]:
    """Gone."""
    yield from send(Request("DELETE", path))


def create_key(name: str, scopes: list[str], expires_at: str | None) -> Flow[Json]:
    """A key, in `key`; it is shown this once."""
    body = {"name": name, "scopes": scopes, **({"expires_at": expires_at} if expires_at else {})}
    key: Json = yield from send(create("/v1/keys", body))
    return key


def upload_file(path: Path, metadata: Mapping[str, Any] | None) -> Flow[Json]:
    """A file of this machine, for inputs; `urls.get` stands for it there."""
    parts: dict[str, Any] = {"content": (path.name, path.read_bytes())}
    if metadata:
        parts["metadata"] = (None, json.dumps(dict(metadata)))
    file: Json = yield from send(create("/v1/files", None, files=parts))
    return file
