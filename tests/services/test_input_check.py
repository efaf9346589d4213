"""Inputs against schemas."""

import math

import pytest

from app.domain.errors import InvalidInput
from app.domain.versions import RunnableVersion
from app.services.predictions.input_check import InputChecker

SCHEMA = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "maxLength": 10, "minLength": 1},
        "n": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
        "t": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "seed": {"type": "integer", "nullable": True, "minimum": 0, "maximum": 9},
        "text": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 3}]
        },
        "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "yes": {"type": "boolean"},
        "file": {"type": "string", "format": "uri"},
        "word": {"type": "string", "pattern": "^[a-z]+$"},
        "list": {
            "type": "array",
            "items": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        },
        "any": {},
        "tags": {"type": "array", "default": []},
        "odd": {"type": "integer", "multipleOf": 3},
    },
    "required": ["prompt"],
}
VERSION = RunnableVersion("v", "o/n", SCHEMA, False)


def check(given, version=VERSION):
    return InputChecker().check(version, given)


def test_defaults_are_filled_and_left_out_ones_stay_out():
    assert check({"prompt": "hi"}) == {"prompt": "hi", "n": 2, "mode": "a", "tags": []}


def test_null_counts_as_left_out_unless_it_is_a_value():
    assert check({"prompt": "hi", "n": None, "t": None, "seed": None}) == {
        "prompt": "hi",
        "n": 2,
        "seed": None,
        "mode": "a",
        "tags": [],
    }


def test_a_default_list_is_nobody_elses():
    checker = InputChecker()
    checker.check(VERSION, {"prompt": "x"})["tags"].append(1)
    assert checker.check(VERSION, {"prompt": "x"})["tags"] == []


@pytest.mark.parametrize(
    ("given", "field", "kind"),
    [
        ({"prompt": None}, "prompt", "required"),
        ({"prompt": 5}, "prompt", "invalid_type"),
        ({"prompt": ""}, "prompt", "string_gte"),
        ({"prompt": "x" * 11}, "prompt", "string_lte"),
        ({"prompt": "a\x00"}, "prompt", "format"),
        ({"prompt": "\ud800"}, "prompt", "format"),
        ({"n": True}, "n", "invalid_type"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"n": "1"}, "n", "invalid_type"),
        ({"n": 0}, "n", "number_gte"),
        ({"n": 6}, "n", "number_lte"),
        ({"n": 1e29}, "n", "invalid_type"),
        ({"n": 2**63}, "n", "number_lte"),
        ({"t": math.nan}, "t", "number_lte"),
        ({"t": math.inf}, "t", "number_lte"),
        ({"t": 1}, "t", "number_lt"),
        ({"t": False}, "t", "invalid_type"),
        ({"seed": -1}, "seed", "number_gte"),
        ({"text": 5}, "text", "invalid_type"),
        ({"text": ["a", 5]}, "text.1", "invalid_type"),
        ({"text": ["a"] * 4}, "text", "array_max_items"),
        ({"mode": "c"}, "mode", "enum"),
        ({"yes": 1}, "yes", "invalid_type"),
        ({"file": "file:///etc/passwd"}, "file", "format"),
        ({"file": "/etc/passwd"}, "file", "format"),
        ({"word": "A"}, "word", "pattern"),
        ({"list": [{"x": 1}, {}]}, "list.1.x", "required"),
        ({"list": [{"x": 1, "$file": "k"}]}, "list.0.$file", "additional_property_not_allowed"),
        ({"any": {"$file": "outputs/secret"}}, "any", "additional_property_not_allowed"),
        ({"any": [[math.nan]]}, "any.0.0", "format"),
        ({"any": 2**64}, "any", "format"),
        ({"odd": 4}, "odd", "multipleOf"),
        ({"nothing": 1}, "nothing", "additional_property_not_allowed"),
    ],
)
def test_a_wrong_input_is_named(given, field, kind):
    with pytest.raises(InvalidInput) as caught:
        check({"prompt": "hi"} | given)
    assert [(one.field, one.type) for one in caught.value.fields] == [(f"input.{field}", kind)]
    assert f"input.{field}: " in caught.value.detail


def test_a_whole_float_is_an_integer():
    found = check({"prompt": "hi", "n": 3.0})["n"]
    assert (found, type(found)) == (3, int)


def test_depth_and_the_number_of_errors_are_bounded():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidInput, match="deeper"):
        check({"prompt": "hi", "any": deep})
    wide = RunnableVersion(
        "w", "o/n", {"properties": {"l": {"type": "array", "items": {"type": "integer"}}}}, False
    )
    with pytest.raises(InvalidInput) as caught:
        check({"l": ["x"] * 100_000}, wide)
    assert len(caught.value.fields) == 20


def test_an_open_schema_takes_other_names():
    version = RunnableVersion(
        "o", "o/n", {"properties": {}, "additionalProperties": {"type": "integer"}}, False
    )
    assert check({"a": 1}, version) == {"a": 1}
    with pytest.raises(InvalidInput, match=r"input\.a"):
        check({"a": "x"}, version)


def test_only_the_versions_used_last_are_kept():
    checker = InputChecker(kept=2)
    for name in ("a", "b", "a", "c"):
        checker.check(RunnableVersion(name, "o/n", {}, False), {})
    assert list(checker._compiled) == ["a", "c"]


def test_the_input_is_an_object():
    with pytest.raises(InvalidInput, match="must be an object"):
        check([])


def test_checking_costs_microseconds():
    import timeit

    checker = InputChecker()
    once = timeit.timeit(lambda: checker.check(VERSION, {"prompt": "hi", "n": 3}), number=2000) / 2000
    assert once < 200e-6


def test_an_input_may_be_given_by_an_alias_but_not_twice():
    schema = {
        "properties": {"steps": {"type": "integer", "maximum": 9, "x-aliases": ["num_inference_steps"]}}
    }
    version = RunnableVersion("v2", "o/n", schema, False)
    assert check({"num_inference_steps": 3}, version) == check({"steps": 3}, version) == {"steps": 3}
    with pytest.raises(InvalidInput) as caught:
        check({"num_inference_steps": 10}, version)
    assert caught.value.fields[0].field == "input.steps"
    with pytest.raises(InvalidInput) as caught:
        check({"num_inference_steps": 3, "steps": 4}, version)
    assert caught.value.fields[0].field == "input.num_inference_steps"
