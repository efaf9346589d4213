"""Every setting of a version with every built-in runtime: what the table allows is accepted, all else is
refused by name with a sentence."""

from dataclasses import asdict
from typing import Any

import pytest

from app.domain.errors import InvalidRequest
from app.domain.version_settings import (
    AUTO,
    BATCHING,
    RUNTIME,
    SETTINGS,
    VersionSetting,
    number_of,
    schemas_for,
    value_of,
)
from app.runtimes import registry
from app.runtimes.base import RuntimeSpec
from app.services.catalogue.version_maker import check_config
from app.settings import Settings

SPECS = {name: registry.find(name).spec for name in registry.BUILT_IN}
OBJECT = {"device": "cuda:0@gpu-1", "memory_bytes": 2**40}


def allowed(schema: dict[str, Any]) -> list[Any]:
    """Values at the edges of what a schema allows."""
    if "anyOf" in schema:
        return [value for choice in schema["anyOf"] for value in allowed(choice)]
    if "enum" in schema:
        return list(schema["enum"])
    return {
        "boolean": lambda: [True, False],
        "object": lambda: [{}, OBJECT],
        "string": lambda: ["", "cuda", "x" * schema["maxLength"]],
        "integer": lambda: [schema["minimum"], schema["maximum"]],
        "number": lambda: [schema["minimum"], schema["maximum"], schema["maximum"] / 2],
    }[schema["type"]]()


def forbidden(schema: dict[str, Any]) -> list[Any]:
    """Values just beyond it, and values of other types."""
    if "anyOf" in schema:
        return [value for value in forbidden(schema["anyOf"][0]) if value not in allowed(schema)]
    if "enum" in schema:
        return ["int8", "", 1, None, ["auto"]]
    return {
        "boolean": lambda: ["true", 1, None],
        "object": lambda: ["cuda", {"memory": 1}, {"memory_bytes": -1}],
        "string": lambda: [1, "x" * (schema["maxLength"] + 1), None],
        "integer": lambda: [schema["minimum"] - 1, schema["maximum"] + 1, 1.5, "8", True, None],
        "number": lambda: [schema["minimum"] - 1, schema["maximum"] + 1, "8", True, None],
    }[schema["type"]]()


def is_read(setting: VersionSetting, spec: RuntimeSpec) -> bool:
    return setting.read_by != RUNTIME or setting.name in spec.reads


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_is_read_takes_what_the_table_allows_and_nothing_else(setting, spec):
    if not is_read(setting, spec):
        return
    for value in allowed(setting.schema):
        check_config({setting.name: value}, asdict(spec))
    for value in forbidden(setting.schema):
        with pytest.raises(InvalidRequest, match=rf"config\.{setting.name}") as refused:
            check_config({setting.name: value}, asdict(spec))
        assert " must " in str(refused.value) or "is not allowed here" in str(refused.value)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_nothing_reads_is_refused_by_name(setting, spec):
    if is_read(setting, spec):
        return
    for value in allowed(setting.schema):
        with pytest.raises(
            InvalidRequest, match=rf"config\.{setting.name}.* is not read by the runtime '{spec.name}'"
        ):
            check_config({setting.name: value}, asdict(spec))


def test_only_runtimes_of_networks_read_a_precision():
    assert {name for name, spec in SPECS.items() if "dtype" in spec.reads} == set(SPECS) - {
        "echo",
        "onnx",
        "python",
    }


def test_a_runtimes_own_key_does_not_change_a_setting_of_the_platform():
    """Workers of before wrote bounds of their own for them, without `auto`."""
    older = {"name": "old", "config": {"max_batch_size": {"type": "integer", "minimum": 1, "maximum": 8}}}
    check_config({"max_batch_size": AUTO}, older)
    check_config({"dtype": "q4"}, {"name": "mine", "config": {"dtype": {"type": "string", "enum": ["q4"]}}})


def test_a_runtime_cannot_read_what_is_no_setting_of_runtimes():
    for name in ("precision", "timeout"):
        with pytest.raises(ValueError, match=name):
            RuntimeSpec("mine", "", {"": {}}, {"": {}}, reads=(name,))


def test_the_value_that_counts_is_the_default_where_the_key_is_absent():
    assert value_of({}, "fused") is True
    assert value_of({"fused": False}, "fused") is False
    assert [number_of({}, name) for name in (*BATCHING, "timeout", "keep_alive")] == [None] * 5
    assert number_of({"max_wait_ms": AUTO}, "max_wait_ms") is None
    assert number_of({"max_wait_ms": 0}, "max_wait_ms") == 0
    with pytest.raises(KeyError):
        value_of({}, "max_batch_sise")


def test_every_default_is_a_value_that_may_be_set():
    for setting in SETTINGS.values():
        if setting.default is not None:
            spec = {"name": "all", "reads": list(SETTINGS)}
            check_config({setting.name: setting.default}, spec)
        else:
            assert setting.platform_setting or setting.name == "least_agreement"  # each runtime has its own
        assert not setting.platform_setting or setting.platform_setting in Settings.model_fields
    assert set(schemas_for(())) == {name for name, one in SETTINGS.items() if one.read_by != RUNTIME}
