"""Ids, states, versions, sources and signatures: pure rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import queue_names
from app.domain.errors import FieldError, InvalidInput
from app.domain.predictions import is_id, new_id, retry_delay
from app.domain.signature import read_schemas
from app.domain.versions import Source, VersionSpec, is_name, parse_source


@pytest.mark.parametrize("text", ["cpu", "cuda", "rocm:12", "qnn", "cuda:0@gpu-7.example", "cpu@2.host_name"])
def test_devices_have_one_form(text: str) -> None:
    assert queue_names.is_device(text)
    assert queue_names.is_queue(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "auto", "any", "marker", "webhooks", "CPU", "cuda:", "cuda:01", "cuda:1234", "cuda:-1"),
        *("cpu@ä", "@host", "cpu@", "cpu@a@b", "cpu@a b", "cpu@-a", "cpu\n", "cuda:0@h\n"),
        "cuda:0@" + "h" * 101,
    ],
)
def test_nothing_else_is_a_device(text: str) -> None:
    assert not queue_names.is_device(text)


@given(st.text(max_size=300))
def test_any_machines_name_can_stand_in_a_queues_name(name: str) -> None:
    queue = queue_names.pinned("cuda:0", queue_names.as_host(name))
    assert queue_names.is_device(queue)
    assert len(queue) <= 128


@given(st.integers(0, 2**47), st.integers(1, 2**20))
def test_ids_sort_by_time(milliseconds: int, later: int) -> None:
    first, second = new_id(milliseconds), new_id(milliseconds + later)
    assert first < second
    assert is_id(first)
    assert first != new_id(milliseconds)


@pytest.mark.parametrize("text", ["", "u" * 26, "0" * 25, "0" * 27, "0" * 25 + "U", "../../../etc/passwd"])
def test_other_texts_are_no_ids(text: str) -> None:
    assert not is_id(text)


def test_the_first_retry_is_at_once_and_later_ones_wait_longer() -> None:
    assert [retry_delay(crashes) for crashes in (0, 1, 2, 3, 100)] == [0, 0, 1, 4, 60]


def spec(**more) -> VersionSpec:
    base = {
        "model": "a/b",
        "source": "none",
        "runtime": "echo",
        "task": "",
        "config": {"x": 1, "y": 2},
        "input_schema": {},
    }
    return VersionSpec(**{**base, **more})


def test_a_versions_address_is_its_content() -> None:
    assert spec().address() == spec(config={"y": 2, "x": 1}).address()
    assert len(spec().address()) == 64
    others = [
        spec(model="a/c"),
        spec(source="hf:x/y"),
        spec(runtime="r"),
        spec(task="t"),
        spec(config={}),
        spec(fingerprint="f"),
    ]
    assert len({one.address() for one in [spec(), *others]}) == 7


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("none", Source("none")),
        ("hf:org/name", Source("hf", "org/name")),
        ("hf:gpt2", Source("hf", "gpt2")),
        ("hf:org/name@main", Source("hf", "org/name", "main")),
        ("hf:org/na.me-1@refs/pr/1", Source("hf", "org/na.me-1", "refs/pr/1")),
        ("s3://bucket/a/b", Source("s3", "bucket/a/b")),
        ("path:/models/x", Source("path", "/models/x")),
    ],
)
def test_sources_are_read_and_written_back(text: str, source: Source) -> None:
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/../b",
        "hf:--upload-pack",
        "hf:$(id)",
        "s3://",
        "s3://B/x",
        "s3://bucket",
        "s3://bucket/../x",
        "path:",
        "path:a\x00b",
        "hf:a b",
        "hf:a@b c",
    ],
)
def test_other_sources_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_source(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("a-b.c_d1", True),
        ("A", False),
        ("-a", False),
        ("a..b", False),
        ("", False),
        ("a/b", False),
        ("a" * 65, False),
    ],
)
def test_names(text: str, good: bool) -> None:
    assert is_name(text) is good


def test_wrong_inputs_are_named_one_a_line() -> None:
    error = InvalidInput(
        (FieldError("input.a", "type", "must be a number"), FieldError("input.b", "missing", "is required"))
    )
    assert error.detail == "- input.a: must be a number\n- input.b: is required\n"


PREDICTOR = """
from typing import Annotated, Iterator, Literal, Optional
class Predictor:
    def predict(
        self, text: str, count: int = 3, scale: float = 0.5, flag: bool = False,
        mode: Literal["a", "b"] = "a",
        picture: Optional[Path] = None, tags: list[str] = ["x"],
        size: Annotated[int, {"minimum": 1, "maximum": 9}] = 2,
        either: int | str = 1, free=None, *, late: "str" = "z",
    ) -> Iterator[str]:
        yield text
"""


def test_a_signature_becomes_a_schema() -> None:
    inputs, output, streams = read_schemas(PREDICTOR)
    properties = inputs["properties"]
    assert inputs["required"] == ["text"]
    assert [one["x-order"] for one in properties.values()] == list(range(11))
    assert properties["count"]["type"] == "integer"
    assert properties["scale"]["default"] == 0.5
    assert properties["mode"]["enum"] == ["a", "b"]
    assert properties["picture"]["format"] == "uri"
    assert properties["tags"]["items"]["type"] == "string"
    assert (properties["size"]["minimum"], properties["size"]["maximum"]) == (1, 9)
    assert len(properties["either"]["anyOf"]) == 2
    assert properties["late"]["type"] == "string"
    assert streams
    assert output["items"]["type"] == "string"


def test_a_plain_function_does_not_stream() -> None:
    inputs, output, streams = read_schemas("def predict(x: dict) -> float:\n    return 1.0\n")
    assert (inputs["properties"]["x"]["type"], output["type"], streams) == ("object", "number", False)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def other(): pass", "must define"),
        ("def predict(", "not valid Python"),
        ("def predict(x=open('f')): pass", "without running the file"),
    ],
)
def test_a_predictor_without_a_usable_predict_is_refused(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_schemas(source)
