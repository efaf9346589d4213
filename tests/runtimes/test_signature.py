"""A predictor's schema comes from its text alone."""

import jsonschema
import pytest

from app.domain.signature import read_schemas

SOURCE = """
from typing import Annotated, Iterator, Literal, Optional
from pathlib import Path
from cog import BasePredictor, Input
raise SystemExit("this file must never run")

class Predictor(BasePredictor):
    def load(self, device): ...

    def predict(
        self,
        prompt: str,
        count: int = 3,
        mode: Literal["fast", "good"] = "fast",
        strength: float = Input(default=0.5, ge=0, le=1, description="How much."),
        size: Annotated[int, Field(ge=8, le=64, description="In pixels.")] = 16,
        steps: Annotated[int, {"minimum": 1, "maximum": 9}] = 2,
        picture: Optional[Path] = None,
        words: list[str] = Input(max_length=4, default=["a"]),
        extra: "dict | None" = None,
        needed: bool = Input(description="Must be given."),
        kind: str = Input("a", choices=["a", "b"]),
    ) -> Iterator[str]:
        yield prompt
"""


def test_a_signature_becomes_a_schema_without_running_the_file() -> None:
    inputs, output, streams = read_schemas(SOURCE)
    jsonschema.Draft202012Validator.check_schema(inputs)
    properties = inputs["properties"]
    assert list(properties) == sorted(properties, key=lambda name: properties[name]["x-order"])
    assert inputs["required"] == ["prompt", "needed"]
    assert (
        properties["mode"] | {"type": "string", "enum": ["fast", "good"], "default": "fast"}
        == properties["mode"]
    )
    assert (
        properties["strength"] | {"minimum": 0, "maximum": 1, "default": 0.5, "description": "How much."}
        == properties["strength"]
    )
    assert (
        properties["size"] | {"type": "integer", "minimum": 8, "maximum": 64, "default": 16}
        == properties["size"]
    )
    assert (properties["steps"]["minimum"], properties["steps"]["maximum"]) == (1, 9)
    assert (
        properties["picture"] | {"type": "string", "format": "uri", "nullable": True} == properties["picture"]
    )
    assert properties["words"]["maxItems"] == 4
    assert properties["words"]["items"]["type"] == "string"
    assert properties["extra"]["nullable"] is True
    assert properties["kind"]["enum"] == ["a", "b"]
    assert streams
    assert output == {
        "type": "array",
        "title": "Output",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
    }


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "must define a function `predict`"),
        ("def predict(:", "not valid Python: line 1"),
        (
            "STYLES = make()\ndef predict(a: str = STYLES): ...",
            "`a`: STYLES is not known without running the file",
        ),
        ("def predict(a: str = Input(choices=[f'{x}'])): ...", "is not known without running the file"),
        ("def predict(*args): ...", "must name its arguments"),
        ("def predict(a: int = compute()): ...", r"`a`: compute\(\) is not known without running the file"),
        ("def predict(a: 'int int'): ...", "`a`: its annotation"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(source: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_schemas(source)


def test_plain_functions_and_inner_generators_do_not_stream() -> None:
    inputs, output, streams = read_schemas(
        "def predict(n):\n    def each():\n        yield n\n    return list(each())"
    )
    assert inputs["required"] == ["n"]
    assert output == {"title": "Output"}
    assert not streams


CONSTANTS = """
STYLES = {"plain": 1, "bold": 2}
SIZES: list[int] = [8, 16]
DEFAULT = "plain"
CHANGED = 1
CHANGED = 2

async def predict(
    style: str = Input(default=DEFAULT, choices=list(STYLES)),
    other: str = Input(default="bold", choices=sorted(STYLES.keys())),
    size: int = SIZES[0],
    most: int = Input(default=8, le=max(SIZES)),
) -> AsyncIterator[str]:
    yield style
"""


def test_constants_of_the_module_are_defaults_and_choices() -> None:
    inputs, _, streams = read_schemas(CONSTANTS)
    properties = inputs["properties"]
    assert properties["style"] | {"default": "plain", "enum": ["plain", "bold"]} == properties["style"]
    assert properties["other"]["enum"] == ["bold", "plain"]
    assert (properties["size"]["default"], properties["most"]["maximum"]) == (8, 16)
    assert streams
    with pytest.raises(ValueError, match="CHANGED is not known"):
        read_schemas("CHANGED = 1\nCHANGED = 2\ndef predict(a: int = CHANGED): ...")
