"""The version that an experiment runs: the model's own, or, where the experiment asks for another policy, a
copy of it with that policy under a model that is made for the bench and removed after it.

Knows the model API by a callable. Does not know how predictions are sent.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from app.domain.version_settings import AUTO, BATCHING, INPUT_KEYWORDS

KEEP_ALIVE_SECONDS = 60  # a copy that is measured no more must not hold memory beside the next one
PREFIX = "bench-"

Call = Callable[..., Any]  # (method, path, json=…) -> parsed JSON; raises CallFailed


class CallFailed(Exception):
    """The platform refused, or did not answer; `code` tells which to whoever gave the callable."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class NoCopy(Exception):
    """The version cannot be copied; the text says why."""


@dataclass(frozen=True)
class Ready:
    """A version to run, and its configuration."""

    id: str
    config: dict[str, Any]


def find(call: Call, model: str) -> dict[str, Any]:
    """The version that `owner/name` or `owner/name:id` means, as the API shows it. Raises NoCopy for a model
    without any."""
    path, _, version = model.partition(":")
    if version:
        return dict(call("GET", f"/v1/models/{path}/versions/{version}"))
    latest = call("GET", f"/v1/models/{path}").get("latest_version")
    if latest is None:
        raise NoCopy(f"{path} has no version yet")
    return dict(latest)


def merged(config: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """A version's configuration with a policy over it. A batching key that is `auto` is left out: it means
    the same."""
    found = {**config, **policy}
    return {name: value for name, value in found.items() if value != AUTO or name not in BATCHING}


def body(version: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST /v1/models/{owner}/{name}/versions` takes to make the same version with another
    configuration."""
    if version["source"] == "path:…":
        raise NoCopy(
            "the model's folder is shown to its owner only; bench it as its owner, or without batching and"
            " config"
        )
    schemas = version["openapi_schema"]["components"]["schemas"]
    properties = {
        name: _changes(name, one, schemas) for name, one in schemas["Input"].get("properties", {}).items()
    }
    return {
        "source": version["source"],
        "runtime": version["runtime"],
        "task": version["task"],
        "config": dict(config),
        "input_schema": {"properties": properties, "required": schemas["Input"].get("required", [])},
    }


def _changes(name: str, shown: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """One input as a version says it; choices stand beside the inputs, as Cog writes them."""
    choices = {
        key: schemas[name][key]
        for key in ("enum", "type")
        if "allOf" in shown and key in schemas.get(name, {})
    }
    return {key: value for key, value in {**choices, **shown}.items() if key in INPUT_KEYWORDS}


@contextmanager
def prepared(call: Call, model: str, policy: Mapping[str, Any]) -> Iterator[Ready]:
    """The version that runs the model with this policy. Raises NoCopy."""
    version = find(call, model)
    config = merged(version["config"], policy)
    if config == merged(version["config"], {}):
        yield Ready(version["id"], version["config"])
        return
    owner = call("GET", "/v1/account")["username"]
    name = f"{PREFIX}{model.partition(':')[0].partition('/')[2][:40].strip('.-_')}-{secrets.token_hex(3)}"
    wanted = body(version, {"keep_alive": KEEP_ALIVE_SECONDS, **config})
    description = f"A copy of {model} for `lovage bench`; it may be removed."
    made = call("POST", "/v1/models", json={"name": name, "description": description, "version": wanted})
    try:
        yield Ready(made["latest_version"]["id"], config)
    finally:
        with suppress(
            CallFailed
        ):  # a platform that went away in the middle must not take the figures with it
            call("DELETE", f"/v1/models/{owner}/{name}")
