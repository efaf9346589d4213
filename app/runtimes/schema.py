"""Small builders of JSON Schemas for inputs, so that every runtime's schema looks the same. Knows no
runtime."""

from typing import Any

Schema = dict[str, Any]


def inputs(
    properties: dict[str, Schema], required: tuple[str, ...] = (), one_of: tuple[tuple[str, ...], ...] = ()
) -> Schema:
    """An input schema: the properties get their `x-order` by position and a title from their name.

    `one_of`: groups of names of which exactly one must be given.
    """
    ordered = {
        name: {"title": name.replace("_", " ").capitalize(), "x-order": order, **prop}
        for order, (name, prop) in enumerate(properties.items())
    }
    schema: Schema = {"type": "object", "title": "Input", "properties": ordered}
    if one_of:
        schema["oneOf"] = [{"required": list(names)} for names in one_of]
    return {**schema, "required": list(required)} if required else schema


def text(description: str, *, max_length: int = 1_000_000, **more: Any) -> Schema:
    """A string; at most `max_length` characters."""
    return {"type": "string", "description": description, "maxLength": max_length, **more}


def integer(description: str, *, minimum: int, maximum: int, **more: Any) -> Schema:
    """A whole number within bounds, both included."""
    return {"type": "integer", "description": description, "minimum": minimum, "maximum": maximum, **more}


def number(description: str, *, minimum: float, maximum: float, **more: Any) -> Schema:
    """A number within bounds, both included."""
    return {"type": "number", "description": description, "minimum": minimum, "maximum": maximum, **more}


def boolean(description: str, **more: Any) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description, **more}


def file(description: str, **more: Any) -> Schema:
    """A file, given as a URL or data URI; the runtime sees a local path."""
    return {"type": "string", "format": "uri", "description": description, **more}


def array(items: Schema, description: str, *, max_items: int, **more: Any) -> Schema:
    """A list of at most `max_items`."""
    return {"type": "array", "items": items, "description": description, "maxItems": max_items, **more}


def aliases(*names: str) -> Schema:
    """For `more`: an input may also be given by these names, which other platforms' clients send."""
    return {"x-aliases": list(names)}


def development(schema: Schema) -> Schema:
    """A field that does harm on purpose: refused unless LOVAGE_ENV is development."""
    return {**schema, "x-development": True}


def with_defaults(inputs: Schema, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a job over the defaults of its inputs; a null counts as absent."""
    properties = inputs["properties"].items()
    defaults = {name: schema["default"] for name, schema in properties if "default" in schema}
    return defaults | {name: value for name, value in values.items() if value is not None}


SEED = integer(
    "Same seed and same input give the same output; empty: one is drawn, and shown in the input.",
    minimum=0,
    maximum=2**53,
    nullable=True,
)


def chunks_of_text() -> Schema:
    """The output of a streaming text model: a growing list of pieces to be concatenated."""
    return {
        "type": "array",
        "title": "Output",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    }
