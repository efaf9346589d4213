"""Models, keys, files and webhook secrets, step by step, for both clients."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lovage.flow import Flow, Request, create, send

Json = dict[str, Any]
WEBHOOK_SECRET = "/v1/webhooks/default/secret"  # noqa: S105 - a path


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


def version_path(name: str, version: str) -> str:
    """Of a model's version."""
    return f"{model_path(name)}/versions/{quote(version, safe='')}"


def release(name: str, version: str) -> Flow[Json]:
    """The version, which the model's name means now."""
    data: Json = yield from send(Request("POST", f"{version_path(name, version)}/current", may_repeat=True))
    return data


def check_version(values: Mapping[str, Any]) -> Flow[Json]:
    """A report of what registering it would find."""
    report: Json = yield from send(Request("POST", "/v1/models/check", json=dict(values), may_repeat=True))
    return report


def rotate_secret(overlap_hours: float) -> Flow[Json]:
    """The webhook secrets, old and new; never sent twice, as that would end the old one."""
    body = {"overlap_hours": overlap_hours}
    data: Json = yield from send(Request("POST", f"{WEBHOOK_SECRET}/rotate", json=body))
    return data


def redeliver(prediction_id: str, delivery_id: str) -> Flow[list[str]]:
    """The ids of what is sent again; "": all of a prediction."""
    path = f"/v1/predictions/{quote(prediction_id, safe='')}"
    path += f"/deliveries/{quote(delivery_id, safe='')}" if delivery_id else ""
    deliveries: list[str] = (yield from send(Request("POST", f"{path}/redeliver")))["redelivered"]
    return deliveries


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
