"""A version's schemas: a caller's overrides on the runtime's inputs, and the OpenAPI document that clients
read.

Pure functions. The document has Cog's shape: components.schemas.Input and Output, choices by allOf and $ref.
"""

from typing import Any

from app.domain.errors import InvalidRequest, wrong_field
from app.domain.version_settings import INPUT_KEYWORDS

Schema = dict[str, Any]

FIXED = {"type", "format", "items", "nullable"}  # may be repeated, not changed


def wrong_schema(field: str, sentence: str) -> InvalidRequest:
    """One wrong place in an `input_schema`."""
    path = f"input_schema.{field}" if field else "input_schema"
    return wrong_field(path, sentence)


def override_inputs(inputs: Schema, changes: Schema | None) -> Schema:
    """The runtime's input schema with the caller's changes: titles, defaults, bounds, choices, what is
    required."""
    if not changes:
        return inputs
    unknown = set(changes) - {"type", "title", "properties", "required"}
    if unknown or changes.get("type", "object") != "object":
        raise wrong_schema("", "must be an object schema with `properties` and `required` only")
    properties = {name: dict(schema) for name, schema in inputs.get("properties", {}).items()}
    for name, keywords in _object(changes.get("properties", {}), "properties").items():
        if name not in properties:
            raise wrong_schema(f"properties.{name[:100]}", "is not an input of this runtime")
        properties[name] |= _keywords(name, _object(keywords, f"properties.{name}"), properties[name])
    required = changes.get("required", inputs.get("required", []))
    if not isinstance(required, list) or not all(
        isinstance(name, str) and name in properties for name in required
    ):
        raise wrong_schema("required", "must be a list of input names")
    for name in changes.get("required", ()):
        if "default" not in changes.get("properties", {}).get(name, {}):
            # A default of the runtime's would make "required" mean nothing.
            properties[name].pop("default", None)
    return _checked({**inputs, "properties": properties, "required": required})


def _object(value: Any, field: str) -> Schema:
    if not isinstance(value, dict):
        raise wrong_schema(field, "must be an object")
    return value


def _keywords(name: str, keywords: Schema, now: Schema) -> Schema:
    for key, value in keywords.items():
        if key not in INPUT_KEYWORDS:
            raise wrong_schema(f"properties.{name}.{key[:50]}", "cannot be changed")
        if key in FIXED and value != now.get(key):
            raise wrong_schema(f"properties.{name}.{key}", "cannot be other than the runtime's")
    return keywords


def _checked(schema: Schema) -> Schema:
    """The schema, if it is one and its defaults fit it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    from app.services.catalogue.schema_compile import Errors, compile_schema

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise wrong_schema(".".join(str(part) for part in error.path), "is not a valid JSON Schema") from None
    errors: Errors = []
    for name, keywords in schema["properties"].items():
        if keywords.get("default") is not None:
            compile_schema(keywords)(keywords["default"], name, errors)
    if errors:
        raise wrong_schema(f"properties.{errors[0].field}.default", errors[0].description)
    return schema


def openapi_schema(inputs: Schema, outputs: Schema) -> Schema:
    """The OpenAPI document of one version."""
    schemas: Schema = {}
    properties = {
        name: _by_reference(name, keywords, schemas)
        for name, keywords in inputs.get("properties", {}).items()
    }
    schemas["Input"] = {**inputs, "type": "object", "title": "Input", "properties": properties}
    schemas["Output"] = {"title": "Output", **outputs}
    schemas["Status"] = {
        "type": "string",
        "title": "Status",
        "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
    }
    schemas["PredictionRequest"] = _object_of(
        "PredictionRequest", {"input": {"$ref": "#/components/schemas/Input"}}
    )
    answer = {
        "id": {"type": "string"},
        "status": {"$ref": "#/components/schemas/Status"},
        "input": {"$ref": "#/components/schemas/Input"},
        "output": {"$ref": "#/components/schemas/Output"},
        "error": {"type": "string", "nullable": True},
        "logs": {"type": "string"},
        "metrics": {"type": "object"},
    }
    schemas["PredictionResponse"] = _object_of("PredictionResponse", answer)
    return {
        "openapi": "3.0.2",
        "info": {"title": "Lovage", "version": "0.1.0"},
        "paths": {"/predictions": {"post": _operation()}},
        "components": {"schemas": schemas},
    }


def _object_of(title: str, properties: Schema) -> Schema:
    return {"type": "object", "title": title, "properties": properties}


def _by_reference(name: str, schema: Schema, schemas: Schema) -> Schema:
    """Choices become a schema of their own, as Cog writes them: clients look there."""
    if "enum" not in schema:
        return schema
    schemas[name] = {
        "title": name,
        "description": "An enumeration.",
        "type": schema.get("type", "string"),
        "enum": schema["enum"],
    }
    others = {key: value for key, value in schema.items() if key not in ("enum", "type", "title")}
    return {"allOf": [{"$ref": f"#/components/schemas/{name}"}], **others}


def _operation() -> Schema:
    def json_of(name: str) -> Schema:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    response = {"description": "The prediction", **json_of("PredictionResponse")}
    return {"summary": "Predict", "requestBody": json_of("PredictionRequest"), "responses": {"200": response}}
