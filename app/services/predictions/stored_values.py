"""Long inputs and outputs: their JSON is a file in the storage, and the row names it.

Postgres then holds rows that can be read, written and moved in groups, whatever callers send and models
answer. An input is split: its short properties stay in the row, its long ones are one JSON object in the
storage, which several predictions of one call may share. An output is stored whole, and the row has facts of
it instead. Knows no HTTP and no SQL. Calls block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain.errors import NotFound, StorageFailed
from app.domain.predictions import Prediction
from app.domain.streamed_output import list_pieces
from app.domain.work import FILE_KEY
from app.json_text import JsonText
from app.storage.base import Storage

INLINE_BYTES = 1_000_000  # of an input's or output's JSON in its row; what is longer is stored
REST_BYTES = 16_384  # of the properties of a stored input that stay in the row
JSON = "application/json"
GONE = "A stored part of this prediction could not be read."


def input_key(prediction_id: str) -> str:
    """Where the input that was stored for a prediction lives; others of the same call may name it, too."""
    return f"inputs/{prediction_id}.json"


def output_key(prediction_id: str, attempt: int) -> str:
    """Beside the attempt's files, where no file of a model's can be: those lie one level higher."""
    return f"outputs/{prediction_id}/{attempt}/value/output.json"


@dataclass(frozen=True, slots=True)
class SplitInput:
    """`rest` stays in the row; `stored` is the object of the others, None where nothing is long. `size`: of
    all of it."""

    rest: JsonText
    stored: JsonText | None
    size: int


def split_input(values: Mapping[str, Any]) -> SplitInput:
    """An input for its row and the storage. Short ones, nearly all, are written down once, as they are."""
    text = JsonText.from_value(values)
    if len(text) <= INLINE_BYTES:
        return SplitInput(text, None, len(text))
    texts = {name: JsonText.from_value(value) for name, value in values.items()}
    left, long = sum(map(len, texts.values())), []
    for name in sorted(texts, key=lambda name: -len(texts[name])):
        if left <= REST_BYTES:
            break
        long.append(name)
        left -= len(texts[name])
    stored = _join({name: each for name, each in texts.items() if name in long})
    rest = _join({name: each for name, each in texts.items() if name not in long})
    return SplitInput(rest, stored, len(text))


def group_by_shared(inputs: Sequence[Mapping[str, Any]]) -> list[tuple[list[int], frozenset[str]]]:
    """Numbers of the inputs that share values, the very same texts, lists or objects under the same names;
    with these names."""
    groups: dict[frozenset[tuple[str, int]], list[int]] = {}
    for number, values in enumerate(inputs):
        same = {(name, id(value)) for name, value in values.items() if isinstance(value, str | list | dict)}
        groups.setdefault(frozenset(same), []).append(number)
    return [(numbers, frozenset(name for name, _ in same)) for same, numbers in groups.items()]


def split_inputs(inputs: list[dict[str, Any]], shared: frozenset[str]) -> list[SplitInput]:
    """Of one group of `group_by_shared`."""
    return share_input(inputs, shared) if len(inputs) > 1 else [split_input(inputs[0])]


def share_input(inputs: list[dict[str, Any]], shared: frozenset[str]) -> list[SplitInput]:
    """Inputs that have the properties `shared` in common: these are written down once, and stored once where
    their copies together would be long."""
    common = {name: JsonText.from_value(inputs[0][name]) for name in inputs[0] if name in shared}
    own = [
        {name: JsonText.from_value(value) for name, value in values.items() if name not in shared}
        for values in inputs
    ]
    stored = _join(common)
    if len(inputs) * len(stored) <= INLINE_BYTES:
        whole = [_join(common | texts) for texts in own]
        return [SplitInput(text, None, len(text)) for text in whole]
    rests = [_join(texts) for texts in own]
    return [SplitInput(rest, stored, len(stored) + len(rest)) for rest in rests]


def _join(texts: Mapping[str, JsonText]) -> JsonText:
    return JsonText.from_value({name: text.fragment for name, text in texts.items()})


def facts_of(output: Any, text: JsonText, *, streamed: bool = False) -> JsonText:
    """What the row says of a stored output: how many items it is a list of, or was streamed as (null: it is
    no list), and whether it may name files, whose links are signed anew for each reader."""
    pieces = list_pieces(output) if streamed else output
    items = len(pieces) if isinstance(pieces, list) else None
    return JsonText.from_value({"items": items, "files": f'"{FILE_KEY}"'.encode() in text.raw})


class StoredValues:
    """Thread-safe when the storage is."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, key: str, text: JsonText) -> None:
        """Raises StorageFailed."""
        self._storage.put(key, text.raw, JSON)

    def delete(self, keys: list[str]) -> None:
        """Raises StorageFailed."""
        self._storage.delete(keys)

    def open(self, key: str) -> tuple[Iterator[bytes], int]:
        """The bytes of a stored value, in blocks, and how many there are. Raises StorageFailed."""
        try:
            blocks, size, _ = self._storage.open(key)
        except NotFound as error:
            raise StorageFailed(GONE) from error
        return blocks, size

    def read(self, key: str) -> JsonText:
        """Raises StorageFailed."""
        return JsonText(b"".join(self.open(key)[0]))

    def whole_input(self, rest: dict[str, Any] | None, key: str | None) -> dict[str, Any]:
        """What the model is called with; `rest` is what the row holds. Raises StorageFailed."""
        return (rest or {}) | (self.read(key).value() if key else {})

    def whole_output(self, prediction: Prediction) -> Any:
        """Raises StorageFailed."""
        key = prediction.output_key
        return self.read(key).value() if key else prediction.output


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored value as JSON: `head`, then what the storage has, but for its first `skip` bytes."""

    key: str
    head: bytes = b""
    skip: int = 0

    @classmethod
    def from_input(cls, prediction: Prediction) -> "StoredText":
        """The two parts of a stored input, joined without reading the long one."""
        assert prediction.input_key is not None
        if not prediction.input:
            return cls(prediction.input_key)
        return cls(prediction.input_key, orjson.dumps(prediction.input)[:-1] + b",", 1)
