"""One JSON Schema, compiled into one function: a check that costs microseconds, not jsonschema's
milliseconds.

The forms that model inputs use (types, bounds, lengths, enum, items, nested objects, anyOf) become closures;
a schema with any other keyword is handed to the library `jsonschema`. Knows nothing of models, defaults or
what is done with a wrong value. Kinds of errors are named as Replicate names them (gojsonschema's words).
"""

import math
import re
from collections.abc import Callable
from typing import Any

from app.domain.errors import FieldError
from app.domain.storable import MAX_INTEGER, number_fault, text_fault
from app.domain.work import FILE_KEY

Schema = dict[str, Any]
Errors = list[FieldError]
# (value, dotted path, errors found so far) -> the value to use. Appends to the errors; never raises.
Check = Callable[[Any, str, Errors], Any]

MAX_ERRORS = 20  # a list of a million wrong items must not become a million sentences
MAX_DEPTH = 64
MAX_EXACT_FLOAT = 2**53  # above it 1.0-style integers are no longer exact
SCHEMES = ("http://", "https://", "data:")

DEVELOPMENT = "x-development"  # of a field that does harm on purpose
FOR_DEVELOPMENT = "development_only", "is for development only (LOVAGE_ENV=development)"

# Keywords that only describe, beside those that the closures below check.
NOTES = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "writeOnly",
    "readOnly",
    "nullable",
    "contentMediaType",
    "$schema",
    "$id",
}
CHECKED = {
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "anyOf",
}


def wrong(errors: Errors, path: str, kind: str, sentence: str) -> None:
    """Notes one wrong field, up to MAX_ERRORS."""
    if len(errors) < MAX_ERRORS:
        errors.append(FieldError(path, kind, sentence))


def allows_null(schema: Schema) -> bool:
    """Whether null is a value of its own here (and not merely "left out")."""
    kind = schema.get("type")
    if schema.get("nullable") or kind == "null" or (isinstance(kind, list) and "null" in kind):
        return True
    return any(allows_null(choice) for choice in schema.get("anyOf", ()))


def compile_schema(schema: Schema) -> Check:
    """The check for a schema. The schema itself is trusted (the catalogue has checked it)."""
    if any(key not in CHECKED and key not in NOTES and not key.startswith("x-") for key in schema):
        return _by_library(schema)
    check = _any_of(schema["anyOf"]) if "anyOf" in schema else _typed(schema)
    if "enum" in schema or "const" in schema:
        check = _among(check, schema.get("enum", [schema.get("const")]))
    return _or_null(check) if allows_null(schema) else check


def _typed(schema: Schema) -> Check:
    kind = schema.get("type")
    if isinstance(kind, list):
        return _any_of([{**schema, "type": name} for name in kind])
    if kind is None:
        return free_value
    return MAKERS[kind](schema)


def _or_null(check: Check) -> Check:
    return lambda value, path, errors: None if value is None else check(value, path, errors)


def _among(check: Check, allowed: list[Any]) -> Check:
    names = ", ".join(str(choice) for choice in allowed[:30])

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if not any(
            choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in allowed
        ):
            wrong(errors, path, "enum", f"must be one of: {names}")
            return value
        return check(value, path, errors)

    return check_value


def _any_of(choices: list[Schema]) -> Check:
    checks = [compile_schema(choice) for choice in choices]
    kinds = " or ".join(dict.fromkeys(str(choice.get("type", "value")) for choice in choices))

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        best: Errors = []
        for check in checks:
            faults: Errors = []
            checked = check(value, path, faults)
            if not faults:
                return checked
            if not best or (best[0].type == "invalid_type" and best[0].field == path):
                best = faults  # the choice of the right type has the better sentence
        if all(error.type == "invalid_type" and error.field == path for error in best):
            wrong(errors, path, "invalid_type", f"must be {kinds}, not {name_of(value)}")
        else:
            errors.extend(best[: MAX_ERRORS - len(errors)])
        return value

    return check_value


def name_of(value: Any) -> str:
    """What JSON calls this value's type."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _mistyped(errors: Errors, path: str, expected: str, value: Any) -> None:
    wrong(errors, path, "invalid_type", f"must be {expected}, not {name_of(value)}")


def _string(schema: Schema) -> Check:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None
    is_file = schema.get("format") == "uri"

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is not str:
            _mistyped(errors, path, "a string", value)
        elif fault := text_fault(value):
            wrong(errors, path, "format", fault)
        elif len(value) < shortest:
            wrong(errors, path, "string_gte", f"must have at least {shortest} characters")
        elif len(value) > longest:
            wrong(errors, path, "string_lte", f"must have at most {longest} characters, not {len(value)}")
        elif pattern and not pattern.search(value):
            wrong(errors, path, "pattern", f"must match {schema['pattern']}")
        elif is_file and not value.startswith(SCHEMES):
            wrong(errors, path, "format", "must be an http, https or data URL")
        return value

    return check_value


def _bounds(schema: Schema) -> Callable[[float, str, Errors], None]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)

    def check_value(value: float, path: str, errors: Errors) -> None:
        if value < low:
            wrong(errors, path, "number_gte", f"must be at least {low}")
        elif value > high:
            wrong(errors, path, "number_lte", f"must be at most {high}")
        elif value <= above and above != -math.inf:
            wrong(errors, path, "number_gt", f"must be greater than {above}")
        elif value >= below and below != math.inf:
            wrong(errors, path, "number_lt", f"must be less than {below}")

    return check_value


def _integer(schema: Schema) -> Check:
    bounds = _bounds(schema)

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is float and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT:
            value = int(value)  # JSON Schema counts 20.0 as an integer, and some clients send it so
        if type(value) is not int:
            _mistyped(errors, path, "an integer", value)
        elif abs(value) > MAX_INTEGER:
            wrong(errors, path, "number_lte", "must fit in 64 bits")
        else:
            bounds(value, path, errors)
        return value

    return check_value


def _number(schema: Schema) -> Check:
    bounds = _bounds(schema)

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is not float and type(value) is not int:
            _mistyped(errors, path, "a number", value)
        elif fault := number_fault(value):
            wrong(errors, path, "number_lte", fault)
        else:
            bounds(value, path, errors)
        return value

    return check_value


def _boolean(schema: Schema) -> Check:
    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is not bool:
            _mistyped(errors, path, "true or false", value)
        return value

    return check_value


def _null(schema: Schema) -> Check:
    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if value is not None:
            _mistyped(errors, path, "null", value)
        return value

    return check_value


def _array(schema: Schema) -> Check:
    item = compile_schema(schema["items"]) if isinstance(schema.get("items"), dict) else free_value
    all_fit = _numbers_fit(schema["items"]) if _is_plain_number(schema.get("items")) else None
    fewest, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is not list:
            _mistyped(errors, path, "an array", value)
        elif len(value) < fewest:
            wrong(errors, path, "array_min_items", f"must have at least {fewest} items")
        elif len(value) > most:
            wrong(errors, path, "array_max_items", f"must have at most {most} items, not {len(value)}")
        elif all_fit is None or not all_fit(value):
            return _items(item, value, path, errors)
        return value

    return check_value


def _is_plain_number(schema: Any) -> bool:
    bounds = {"type", "minimum", "maximum"}
    known = isinstance(schema, dict) and schema.keys() <= bounds | NOTES - {"nullable"}
    return known and schema.get("type") in ("integer", "number")


def _numbers_fit(schema: Schema) -> Callable[[list[Any]], bool]:
    """Whether all items are such numbers, without a call for each: a million token ids took 0.6 s. What does
    not fit is looked at one by one, for its sentence."""
    kinds = {int} if schema["type"] == "integer" else {int, float}
    low = max(schema.get("minimum", -MAX_INTEGER), -MAX_INTEGER if schema["type"] == "integer" else -math.inf)
    high = min(schema.get("maximum", MAX_INTEGER), MAX_INTEGER if schema["type"] == "integer" else math.inf)

    def all_fit(values: list[Any]) -> bool:
        if not values or not set(map(type, values)) <= kinds:
            return False
        return low <= min(values) and max(values) <= high and math.isfinite(sum(values))

    return all_fit


def _items(item: Check, values: list[Any], path: str, errors: Errors) -> list[Any]:
    checked = []
    for index, value in enumerate(values):
        checked.append(item(value, f"{path}.{index}", errors))
        if len(errors) >= MAX_ERRORS:
            break
    return checked


def _object(schema: Schema) -> Check:
    properties = {name: compile_schema(field) for name, field in schema.get("properties", {}).items()}
    required, extra = schema.get("required", ()), schema.get("additionalProperties", True)
    others = compile_schema(extra) if isinstance(extra, dict) else free_value

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        if type(value) is not dict:
            _mistyped(errors, path, "an object", value)
            return value
        for name in required:
            if name not in value:
                wrong(errors, f"{path}.{name}", "required", "is required")
        return {name: check_property(name, value[name], path, errors) for name in value}

    def check_property(name: str, value: Any, path: str, errors: Errors) -> Any:
        if name in properties:
            return properties[name](value, f"{path}.{name}", errors)
        if extra is False or name == FILE_KEY or text_fault(name):
            wrong(errors, f"{path}.{name[:100]}", "additional_property_not_allowed", "is not allowed here")
            return value
        return others(value, f"{path}.{name}", errors)

    return check_value


MAKERS: dict[str, Callable[[Schema], Check]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
    "array": _array,
    "object": _object,
}


def free_value(value: Any, path: str, errors: Errors, depth: int = 0) -> Any:
    """A value whose schema says nothing: still storable JSON of bounded depth, and no file reference of
    ours."""
    if depth > MAX_DEPTH:
        wrong(errors, path, "depth", f"must not be nested deeper than {MAX_DEPTH} levels")
    elif fault := _scalar_fault(value):
        wrong(errors, path, "format", fault)
    elif type(value) is list:
        for index, item in enumerate(value):
            free_value(item, f"{path}.{index}", errors, depth + 1)
    elif type(value) is dict:
        for name, item in value.items():
            if name == FILE_KEY or text_fault(name):
                wrong(
                    errors,
                    path,
                    "additional_property_not_allowed",
                    f"must not have a key {FILE_KEY} or one with NUL",
                )
            free_value(item, f"{path}.{name[:100]}", errors, depth + 1)
    return value


def _scalar_fault(value: Any) -> str | None:
    if type(value) is str:
        return text_fault(value)
    if type(value) is int or type(value) is float:
        return number_fault(value)
    return None


def _by_library(schema: Schema) -> Check:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)

    def check_value(value: Any, path: str, errors: Errors) -> Any:
        free_value(value, path, errors)
        if not errors:
            for fault in list(validator.iter_errors(value))[:MAX_ERRORS]:
                where = ".".join([path, *(str(part) for part in fault.absolute_path)])
                wrong(
                    errors, where, str(fault.validator), f"does not fit the schema's rule {fault.validator!s}"
                )
        return value

    return check_value
