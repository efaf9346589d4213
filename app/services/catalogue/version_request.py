"""What a caller asks for of a version, and what is refused of it whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain import version_settings
from app.domain.errors import FieldError, wrong_field, wrong_fields
from app.json_text import JsonText
from app.services.catalogue.schema_compile import DEVELOPMENT, FOR_DEVELOPMENT, Errors, compile_schema
from app.services.catalogue.version_schema import Schema

LONGEST_VERSION = 64_000  # bytes of config and input_schema together, as JSON


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """What a caller asks for. Empty runtime and task: to be inferred from the files."""

    source: str = "none"
    runtime: str = ""
    task: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    input_schema: dict[str, Any] | None = None


def check_config(config: dict[str, Any], spec: Mapping[str, Any], *, development: bool = False) -> None:
    """Raises InvalidRequest naming each configuration key that is wrong, unknown, or not read by the runtime.
    `spec` is a RuntimeSpec as a worker wrote it."""
    own = spec.get("config") or {}
    own = own.get("properties", own)
    schemas = {**own, **version_settings.schemas_for(spec.get("reads") or ())}
    errors: Errors = []
    for name, value in config.items():
        if name in schemas:
            if schemas[name].get(DEVELOPMENT) and not development:
                errors.append(FieldError(f"config.{name}", *FOR_DEVELOPMENT))
            compile_schema(schemas[name])(value, f"config.{name}", errors)
        else:
            sentence = _refusal(name, str(spec.get("name") or ""), schemas)
            errors.append(FieldError(f"config.{name[:100]}", "additional_property_not_allowed", sentence))
    if errors:
        raise wrong_fields(tuple(errors))


def check_size(version: VersionRequest) -> None:
    """Raises InvalidRequest naming the larger of both: a version is shown in lists, and kept by every process
    that has to do with it."""
    sizes = {
        "config": len(JsonText.from_value(version.config)),
        "input_schema": len(JsonText.from_value(version.input_schema or {})),
    }
    if sum(sizes.values()) > LONGEST_VERSION:
        larger = max(sizes, key=lambda name: sizes[name])
        raise wrong_field(larger, f"is too long: config and input_schema may have {LONGEST_VERSION:,} bytes")


def _refusal(name: str, runtime: str, schemas: Mapping[str, Schema]) -> str:
    known = ", ".join(sorted(schemas))
    if name in version_settings.SETTINGS:
        return f"is not read by the runtime '{runtime}', so it would change nothing; known are: {known}"
    return f"is not known to this runtime; known are: {known}"
