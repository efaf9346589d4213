"""Checks a prediction's input against its version's schema, before anything is written or queued.

Fills defaults; null counts as left out where null is no value of its own; an input given by one of its
`x-aliases` gets its own name; unknown names are refused by name. Compiled once for each version. Does not
know where schemas come from.
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidInput
from app.domain.file_inputs import takes_files
from app.domain.storable import text_fault
from app.domain.versions import RunnableVersion
from app.services.catalogue.schema_compile import (
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


@dataclass(frozen=True, slots=True)
class Property:
    """One input, ready to be checked."""

    name: str
    path: str
    check: Check
    default: Any
    required: bool
    nullable: bool

    def of(self, given: dict[str, Any], errors: Errors) -> Any:
        """The value to use, or MISSING when it is left out and has no default."""
        value = given.get(self.name, MISSING)
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
        named = schema.get("properties", {}).items()
        self._properties = [self._property(name, one, name in required) for name, one in named]
        self._names = {one.name for one in self._properties}
        self._aliases = {alias: name for name, one in named for alias in one.get("x-aliases", ())}
        self._ways = [tuple(one["required"]) for one in schema.get("oneOf", ())]
        self._files = _files_of(schema)
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

    def __call__(self, given: Any, allow_private: bool) -> dict[str, Any]:
        """The input with defaults filled in; `allow_private` concerns the addresses of files.

        Raises InvalidInput that names every wrong field (the first 20).
        """
        errors: Errors = []
        if type(given) is not dict:
            wrong(errors, ROOT, "invalid_type", f"must be an object, not {name_of(given)}")
            raise InvalidInput(tuple(errors))
        given = self._by_own_names(given)
        checked = {one.name: one.of(given, errors) for one in self._properties}
        self._unknown(given, checked, errors)
        if self._ways:
            self._one_way(checked, errors)
        if self._files and not errors:
            self._check_files(checked, allow_private, errors)
        if errors:
            raise InvalidInput(tuple(errors))
        return {name: value for name, value in checked.items() if value is not MISSING}

    def _by_own_names(self, given: dict[str, Any]) -> dict[str, Any]:
        """An alias beside the name itself stays what it is: unknown."""
        if not self._aliases or not any(name in self._aliases for name in given):
            return given
        own = {name: self._aliases.get(name, name) for name in given}
        return {name if own[name] in given else own[name]: value for name, value in given.items()}

    def _unknown(self, given: dict[str, Any], checked: dict[str, Any], errors: Errors) -> None:
        for name in given.keys() - self._names:
            path = f"{ROOT}.{name[:100]}"
            if self._open and not text_fault(name):
                checked[name] = self._others(given[name], path, errors)
            else:
                known = ", ".join(one.name for one in self._properties) or "none"
                sentence = f"is not an input of this model; its inputs are: {known}"
                wrong(errors, path, "additional_property_not_allowed", sentence)

    def _one_way(self, checked: dict[str, Any], errors: Errors) -> None:
        """Where inputs stand for each other, exactly one group of them must be given; an empty list is
        none."""
        there = {
            name
            for name, value in checked.items()
            if value is not MISSING and value is not None and value != []
        }
        ways = [way for way in self._ways if there.issuperset(way)]
        if len(ways) == 1 or errors:
            return
        choice = ", or ".join(" and ".join(way) for way in self._ways)
        if ways:
            wrong(
                errors,
                f"{ROOT}.{ways[-1][0]}",
                "one_of",
                f"stands for others that are given too: give {choice}",
            )
        else:
            wrong(errors, f"{ROOT}.{self._ways[0][0]}", "required", f"is required: give {choice}")

    def _check_files(self, checked: dict[str, Any], allow_private: bool, errors: Errors) -> None:
        for name, media_type in self._files.items():
            value = checked.get(name)
            for url in value if isinstance(value, list) else [value]:
                if isinstance(url, str) and (fault := fault_of(url, media_type, allow_private)):
                    wrong(errors, f"{ROOT}.{name}", "format", fault)


def _files_of(schema: Schema) -> dict[str, str]:
    """Inputs that are files or lists of them, with the media type that is wanted."""
    found = {name: one for name, one in schema.get("properties", {}).items() if takes_files(one)}
    return {name: one.get("items", one).get("contentMediaType", "") for name, one in found.items()}


class InputChecker:
    """Compiled checks, the most recently used ones kept. Shared by all requests of a process; used from one
    thread."""

    def __init__(self, kept: int = KEPT, *, allow_private: bool = True) -> None:
        self._kept, self._allow_private = kept, allow_private
        self._compiled: OrderedDict[str, CompiledInput] = OrderedDict()

    def check(self, version: RunnableVersion, given: Any) -> dict[str, Any]:
        """The input to run with. Raises InvalidInput."""
        compiled = self._compiled.get(version.id)
        if compiled is None:
            compiled = self._compiled[version.id] = CompiledInput(version.input_schema)
            if len(self._compiled) > self._kept:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(version.id)
        return compiled(given, self._allow_private)
