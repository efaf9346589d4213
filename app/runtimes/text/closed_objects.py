"""JSON Schemas whose objects have the members that they name, and no others. Pure.

A schema that does not say whether an object may have further members allows them, and a model that is held to
nothing else goes on with them: what it says then is no answer to the question. Answers that are held to the
narrower schema fit the one that was sent.
"""

from typing import Any

# Where parts of a schema are joined, a narrower part could leave nothing that fits the whole.
JOINING = frozenset({"allOf", "if", "not", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"})
OBJECTS = frozenset({"properties", "required", "additionalProperties"})
CHOICES = frozenset({"anyOf", "oneOf", "$ref"})
OPENING = frozenset({"additionalProperties", "patternProperties", "propertyNames", *CHOICES})
NAMED = ("properties", "$defs", "definitions")  # schemas by name
LISTS = ("anyOf", "oneOf", "prefixItems", "items")  # a schema, or a list of them


def close_objects(schema: Any) -> Any:
    """The schema with `additionalProperties: false` wherever an object names its members and says nothing of
    others; unchanged where parts of it are joined."""
    return schema if _joins(schema) else _closed(schema)


def _joins(schema: Any) -> bool:
    """Whether any part is joined with another; a member that is called like such a keyword counts, too."""
    if isinstance(schema, list):
        return any(map(_joins, schema))
    if not isinstance(schema, dict):
        return False
    if JOINING & schema.keys() or (CHOICES & schema.keys() and OBJECTS & schema.keys()):
        return True
    return any(map(_joins, schema.values()))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = dict(schema)
    for name in NAMED:
        if isinstance(schema.get(name), dict):
            whole[name] = {each: _closed(part) for each, part in schema[name].items()}
    for name in LISTS:
        if name in schema:
            whole[name] = _closed(schema[name])
    if _names_all(schema):
        whole["additionalProperties"] = False
    return whole


def _names_all(schema: dict[str, Any]) -> bool:
    """Whether an object of the named members alone can fit."""
    members = schema.get("properties")
    if not isinstance(members, dict) or not members or OPENING & schema.keys():
        return False
    required, least = schema.get("required", []), schema.get("minProperties", 0)
    return isinstance(required, list) and set(map(str, required)) <= members.keys() and least <= len(members)
