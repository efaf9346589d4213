"""Rows as objects of the domain and back: a field of the object is the row's attribute of the same name."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def to_object(kind: type[T], row: Any) -> T:
    """The row as a dataclass of the domain."""
    return kind(**{field.name: getattr(row, field.name) for field in fields(kind)})


def values_of(instance: "DataclassInstance") -> dict[str, Any]:
    """The fields of an object of the domain by their names, not copied."""
    return {field.name: getattr(instance, field.name) for field in fields(instance)}
