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
    """The platform refused, or did not answer; `code` is the exit code that the callable's maker has for
    it."""

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


def merge_policy(config: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    """A version's configuration with a policy over it. A batching key that is `auto` is left out: it means
    the same."""
    merged = {**config, **policy}
    return {name: value for name, value in merged.items() if value != AUTO or name not in BATCHING}


def version_body(version: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST /v1/models/{owner}/{name}/versions` takes to make the same version with another
    configuration."""
    if version["source"] == "path:…":
        raise NoCopy(
            "the model's folder is shown to its owner only; bench it as its owner, or without batching and"
            " config"
        )
    schemas = version["openapi_schema"]["components"]["schemas"]
    properties = {
        name: _changes(name, shown, schemas) for name, shown in schemas["Input"].get("properties", {}).items()
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
def prepare_version(call: Call, model: str, policy: Mapping[str, Any]) -> Iterator[Ready]:
    """The version that runs the model with this policy. Raises NoCopy."""
    version = find(call, model)
    config = merge_policy(version["config"], policy)
    if config == merge_policy(version["config"], {}):
        yield Ready(version["id"], version["config"])
        return
    owner = call("GET", "/v1/account")["username"]
    name = f"{PREFIX}{model.partition(':')[0].partition('/')[2][:40].strip('.-_')}-{secrets.token_hex(3)}"
    copy = version_body(version, {"keep_alive": KEEP_ALIVE_SECONDS, **config})
    description = f"A copy of {model} for `lovage bench`; it may be removed."
    model_copy = call("POST", "/v1/models", json={"name": name, "description": description, "version": copy})
    try:
        yield Ready(model_copy["latest_version"]["id"], config)
    finally:
        # A platform that went away in the middle must not take the figures with it.
        with suppress(CallFailed):
            call("DELETE", f"/v1/models/{owner}/{name}")
