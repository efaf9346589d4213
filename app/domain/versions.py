"""A version: an immutable source, runtime and configuration, named by the hash of its content."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.queue_names import BACKENDS

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")
NAME_RULE = "must be 1 to 64 lower-case letters, digits, dots, dashes or underscores"  # in a sentence
VERSION_ID = re.compile(r"[0-9a-f]{64}\Z")
LATEST = "latest"  # what stands for a model's current version where clients must name one
TAG_RULE = f"{NAME_RULE}, and neither a version's id nor {LATEST!r}"
HF_SOURCE = re.compile(
    r"hf:(?P<repo>[\w][\w.-]{0,95}(?:/[\w][\w.-]{0,95})?)(?:@(?P<revision>[\w][\w./-]{0,127}))?\Z"
)
BACKEND_SOURCE = re.compile(
    r"backend:(?P<name>[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)/(?P<model>[^\x00-\x20]{1,200})\Z"
)
UPLOAD_SOURCE = re.compile(r"upload:(?P<id>[0-9a-hjkmnp-tv-z]{26})\Z")
S3_SOURCE = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^\x00-\x1f]{1,512})\Z")


def is_name(text: str) -> bool:
    """Owner and model names: lower case letters, digits, dot, dash, underscore; at most 64; no dot or dash at
    an end."""
    return bool(NAME.match(text)) and ".." not in text


def is_tag(text: str) -> bool:
    """Whether a version may be tagged so."""
    return is_name(text) and not VERSION_ID.match(text) and text != LATEST


@dataclass(frozen=True, slots=True)
class VersionTag:
    """A name for one of a model's versions: `owner/name:tag` means that version until the tag is moved."""

    name: str
    version: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files come from. `kind` is hf, path, s3, upload, none (runtimes that need no files,
    such as echo) or backend, whose location is its name and what the model is called there."""

    kind: str
    location: str = ""
    revision: str = ""

    def __str__(self) -> str:
        if self.kind == "none":
            return "none"
        if self.kind == "s3":
            return f"s3://{self.location}"
        return f"{self.kind}:{self.location}" + (f"@{self.revision}" if self.revision else "")


def parse_source(text: str) -> Source:
    """`hf:org/name@revision`, `path:folder`, `s3://bucket/prefix`, `upload:ID`, `backend:NAME/MODEL` or
    `none`.

    Raises ValueError with a sentence. Whether a path lies under a model root is checked by the catalogue.
    """
    if text == "none":
        return Source("none")
    if match := HF_SOURCE.match(text):
        if ".." in text:
            raise ValueError("a Hugging Face source must not contain '..'")
        return Source("hf", match["repo"], match["revision"] or "")
    if match := S3_SOURCE.match(text):
        if ".." in match["prefix"].split("/"):
            raise ValueError("an S3 source must not contain '..'")
        return Source("s3", f"{match['bucket']}/{match['prefix']}")
    if match := UPLOAD_SOURCE.match(text):
        return Source("upload", match["id"])
    if BACKEND_SOURCE.match(text):
        return Source("backend", text.removeprefix("backend:"))
    if text.startswith("path:") and len(text) > len("path:") and "\x00" not in text:
        return Source("path", text.removeprefix("path:"))
    raise ValueError(
        "must be hf:org/name@revision, path:FOLDER, s3://bucket/prefix, upload:ID, backend:NAME/MODEL or none"
    )


def too_large(size: int, most: int) -> str:
    """What is said of a model over MAX_MODEL_BYTES, to whom registers it and to whom runs it."""
    return f"has {size / 1e9:.1f} GB of files; this server takes models of at most {most / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """All that decides what a version does. `config` and `input_schema` are JSON objects; `fingerprint` is a
    hash of what its source held, "" where the source itself says that."""

    model: str
    source: str
    runtime: str
    task: str
    config: dict[str, Any]
    input_schema: dict[str, Any]
    fingerprint: str = ""

    def address(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces, UTF-8) of the fields: 64 hex digits."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CompleteVersion:
    """A version that can be registered: `spec` has its address, the rest follows from the spec.
    `source_bytes`: of the files that workers fetch from the hub."""

    spec: VersionSpec
    output_schema: dict[str, Any]
    streams: bool
    source_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version. `facts`, by class of device: what workers chose and measured when they loaded it;
    they are not part of its address. `fingerprint`: as VersionSpec's; "" of versions before 0.2."""

    id: str
    model_id: UUID
    source: str
    runtime: str
    task: str
    config: dict[str, Any]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    streams: bool
    fingerprint: str
    facts: dict[str, Any]
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a version wants to run, from its configuration. A device is a class (cuda), a device (cuda:1) or
    a pinned queue (cuda:1@host); "" and 0: anywhere. `device` and `memory_bytes` are required, the others
    preferred. `strategy` is a routing strategy's name, "" for the platform's."""

    device: str = ""
    memory_bytes: int = 0
    preferred_device: str = ""
    preferred_memory_bytes: int = 0
    strategy: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Placement":
        """From `device`, `require`, `prefer` and `routing` of a version's configuration; with `backends`,
        where gateway workers are."""
        if config.get("backends"):
            return cls(BACKENDS, strategy=str(config.get("routing") or ""))
        required, preferred = config.get("require") or {}, config.get("prefer") or {}
        device = str(required.get("device") or config.get("device") or "")
        return cls(
            "" if device == "auto" else device,
            int(required.get("memory_bytes") or 0),
            str(preferred.get("device") or ""),
            int(preferred.get("memory_bytes") or 0),
            str(config.get("routing") or ""),
        )

    @property
    def required(self) -> dict[str, Any]:
        """What is required, as `require` in the configuration; empty for nothing."""
        everything = {"device": self.device, "memory_bytes": self.memory_bytes}
        return {name: value for name, value in everything.items() if value}

    @property
    def is_a_class(self) -> bool:
        """Whether a class's name says all that is required."""
        return not self.memory_bytes and ":" not in self.device

    @property
    def preference(self) -> str:
        """What is preferred, in words; "" for nothing."""
        memory = (
            f"{self.preferred_memory_bytes / 1e9:.1f} GB of memory" if self.preferred_memory_bytes else ""
        )
        return ", ".join(filter(None, (self.preferred_device, memory)))


@dataclass(frozen=True, slots=True)
class RunnableVersion:
    """As much of a version as a prediction needs, for a caller who may run it."""

    id: str
    model: str  # owner/name
    input_schema: dict[str, Any]
    streams: bool
    config: dict[str, Any] = field(default_factory=dict)
    task: str = ""  # the runtime's name where the version names no task
