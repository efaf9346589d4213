"""Checks a prediction's input against its version's schema, before anything is written or queued.

Fills defaults; null counts as left out where null is no value of its own; an input given by one of its
`x-aliases` gets its own name; unknown names are refused by name, or left out where the caller lets them be.
Compiled once for each version. Does not know where schemas come from.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.file_inputs import takes_files
from app.domain.storable import text_fault
from app.domain.versions import RunnableVersion
from app.outbound.addresses import AddressPolicy
from app.services.catalogue.schema_compile import (
    DEVELOPMENT,
    FOR_DEVELOPMENT,
    Check,
    Errors,
    Schema,
    allows_null,
    compile_schema,
    free_value,
    name_of,
    wrong,
)
from app.services.files.input_files import fault_of

KEPT = 2_000  # compiled versions; some kB each
ROOT = "input"
MISSING: Any = object()
ANY_ADDRESS = AddressPolicy(allow_private=True)


@dataclass(frozen=True, slots=True)
class Property:
    """One input, ready to be checked."""

    name: str
    path: str
    check: Check
    default: Any
    required: bool
    nullable: bool

    def value_from(self, inputs: dict[str, Any], errors: Errors) -> Any:
        """The value to use, or MISSING when it is left out and has no default."""
        value = inputs.get(self.name, MISSING)
        if value is MISSING or (value is None and not self.nullable):
            return self._left_out(errors)
        return None if value is None else self.check(value, self.path, errors)

    def _left_out(self, errors: Errors) -> Any:
        if self.required:
            wrong(errors, self.path, "required", "is required")
            return MISSING
        is_container = isinstance(self.default, list | dict)
        return copy.deepcopy(self.default) if is_container else self.default


class CompiledInput:
    """The check of one version's whole input."""

    def __init__(self, schema: Schema) -> None:
        required = set(schema.get("required", ()))
        fields = schema.get("properties", {}).items()
        self._properties = [self._property(name, field, name in required) for name, field in fields]
        self._names = {field.name for field in self._properties}
        self._aliases = {alias: name for name, field in fields for alias in field.get("x-aliases", ())}
        self._ways = [tuple(way["required"]) for way in schema.get("oneOf", ())]
        self._files = _files_of(schema)
        self._harmful = [name for name, field in fields if field.get(DEVELOPMENT)]
        extra = schema.get("additionalProperties", False)
        self._open = extra is not False
        self._others = compile_schema(extra) if isinstance(extra, dict) else free_value

    @staticmethod
    def _property(name: str, schema: Schema, required: bool) -> Property:
        default = schema.get("default", MISSING)
        check = compile_schema(schema)
        return Property(
            name, f"{ROOT}.{name}", check, default, required and default is MISSING, allows_null(schema)
        )

    def __call__(
        self, inputs: Any, policy: AddressPolicy, development: bool, dropped: list[str] | None = None
    ) -> dict[str, Any]:
        """The input with defaults filled in; `policy`: which addresses of files are called; `development`:
        inputs that do harm on purpose are taken; `dropped`: unknown ones are left out, and their names put
        there.

        Raises InvalidInput that names every wrong field (the first 20).
        """
        errors: Errors = []
        if type(inputs) is not dict:
            wrong(errors, ROOT, "invalid_type", f"must be an object, not {name_of(inputs)}")
            raise InvalidInput(tuple(errors))
        inputs = self._by_own_names(inputs)
        checked = {field.name: field.value_from(inputs, errors) for field in self._properties}
        if dropped is None or self._open:
            self._check_unknown(inputs, checked, errors)
        else:
            dropped.extend(name for name in inputs if name not in self._names)
        if self._ways:
            self._check_ways(checked, errors)
        if self._harmful and not development:
            self._check_harmful(checked, errors)
        if self._files and not errors:
            self._check_files(checked, policy, errors)
        if errors:
            raise InvalidInput(tuple(errors))
        return {name: value for name, value in checked.items() if value is not MISSING}

    def _by_own_names(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """An alias beside the name itself stays what it is: unknown."""
        if not self._aliases or not any(name in self._aliases for name in inputs):
            return inputs
        own = {name: self._aliases.get(name, name) for name in inputs}
        return {name if own[name] in inputs else own[name]: value for name, value in inputs.items()}

    def _check_unknown(self, inputs: dict[str, Any], checked: dict[str, Any], errors: Errors) -> None:
        for name in inputs.keys() - self._names:
            path = f"{ROOT}.{name[:100]}"
            if self._open and not text_fault(name):
                checked[name] = self._others(inputs[name], path, errors)
            else:
                known = ", ".join(field.name for field in self._properties) or "none"
                sentence = f"is not an input of this model; its inputs are: {known}"
                wrong(errors, path, "additional_property_not_allowed", sentence)

    def _check_ways(self, checked: dict[str, Any], errors: Errors) -> None:
        """Where inputs stand for each other, exactly one group of them must be there; an empty list is
        none."""
        present = {
            name for name, value in checked.items() if value is not MISSING and value not in (None, [])
        }
        ways = [way for way in self._ways if present.issuperset(way)]
        if len(ways) == 1 or errors:
            return
        choice = ", or ".join(" and ".join(way) for way in self._ways)
        if ways:
            sentence = f"stands for others that are given too: give {choice}"
            wrong(errors, f"{ROOT}.{ways[-1][0]}", "one_of", sentence)
        else:
            wrong(errors, f"{ROOT}.{self._ways[0][0]}", "required", f"is required: give {choice}")

    def _check_harmful(self, checked: dict[str, Any], errors: Errors) -> None:
        for name in self._harmful:
            if checked[name] not in (MISSING, None, False):
                wrong(errors, f"{ROOT}.{name}", *FOR_DEVELOPMENT)

    def _check_files(self, checked: dict[str, Any], policy: AddressPolicy, errors: Errors) -> None:
        for name, media_type in self._files.items():
            value = checked.get(name)
            for url in value if isinstance(value, list) else [value]:
                if isinstance(url, str) and (fault := fault_of(url, media_type, policy)):
                    wrong(errors, f"{ROOT}.{name}", "format", fault)


def _files_of(schema: Schema) -> dict[str, str]:
    """Inputs that are files or lists of them, with the media type that they must have."""
    fields = {name: field for name, field in schema.get("properties", {}).items() if takes_files(field)}
    return {name: field.get("items", field).get("contentMediaType", "") for name, field in fields.items()}


class InputChecker:
    """Compiled checks, the most recently used ones kept. Shared by all requests of a process; used from one
    thread."""

    def __init__(
        self, kept: int = KEPT, *, policy: AddressPolicy = ANY_ADDRESS, development: bool = False
    ) -> None:
        self._kept, self._policy = kept, policy
        self._development = development
        self._compiled: OrderedDict[str, CompiledInput] = OrderedDict()

    def check(self, version: RunnableVersion, inputs: Any) -> dict[str, Any]:
        """The input to run with. Raises InvalidInput."""
        return self.check_for(version)(inputs)

    def check_for(
        self, version: RunnableVersion, dropped: list[str] | None = None
    ) -> Callable[[Any], dict[str, Any]]:
        """The check of this version's inputs, which may be called on another thread. With `dropped` it leaves
        unknown ones out and puts their names there."""
        compiled = self._compiled.get(version.id)
        if compiled is None:
            compiled = self._compiled[version.id] = CompiledInput(version.input_schema)
            if len(self._compiled) > self._kept:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(version.id)
        return partial(compiled, policy=self._policy, development=self._development, dropped=dropped)
