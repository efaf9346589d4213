"""The JSON Schema of a deployment's file, as editors use it: made of the settings and of what a model may
say."""

from typing import Any

from app.deployment_file import Deployment, ModelEntry
from app.settings import SECRETS, Settings, shown_default

TITLE = "A deployment of Lovage"


def deployment_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    model = ModelEntry.model_json_schema()
    model.pop("title")
    for field in model["properties"].values():
        field.pop("title", None)
    most = Deployment.model_json_schema()["properties"]["models"]["maxItems"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "settings": {"type": "object", "additionalProperties": False, "properties": _settings()},
            "models": {"type": "array", "maxItems": most, "items": model},
        },
    }


def _settings() -> dict[str, Any]:
    described = Settings.model_json_schema()["properties"]
    return {
        name.upper(): _setting(described[name], shown_default(field.default))
        for name, field in Settings.model_fields.items()
        if name.upper() not in SECRETS
    }


def _setting(field: dict[str, Any], default: str) -> dict[str, Any]:
    kinds = field.get("anyOf", [field])
    allowed: list[dict[str, Any]] = [{"type": "null"}]
    for kind in kinds:
        rule = {
            name: value for name, value in kind.items() if name not in ("title", "description", "default")
        }
        if rule.get("type") != "null":
            allowed.insert(0, rule)
    return {"description": field["description"], "default": default, "anyOf": allowed}
