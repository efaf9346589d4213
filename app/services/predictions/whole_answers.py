"""The whole object of a prediction as JSON, with what is in the storage put into its place: in blocks, so
that nobody who answers with it holds it. Knows no HTTP. Calls block.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from app.domain.predictions import Prediction
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.stored_values import StoredText, StoredValues


@dataclass(frozen=True, slots=True)
class JsonBlocks:
    """A JSON text of `size` bytes, to be taken once."""

    size: int
    blocks: Iterable[bytes]


class WholeAnswers:
    """Thread-safe."""

    def __init__(self, view: PredictionView, stored: StoredValues) -> None:
        self._view, self.stored = view, stored

    def render(
        self,
        prediction: Prediction,
        base_url: str = "",
        *,
        as_starting: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> JsonBlocks:
        """As PredictionView, with what its row names; `more` are further fields. Raises StorageFailed."""
        is_shown = prediction.ended or not as_starting
        texts = self._texts(prediction, base_url, with_output=is_shown)
        # Nobody can have put it into a value: it was not there before.
        mark = secrets.token_hex(16)
        marks = {name: f"{mark} {name}" for name in texts}
        shown = self._view.render(prediction, base_url, as_starting=as_starting, values=marks)
        body = orjson.dumps({**shown, **(more or {})})
        size, parts = 0, []
        for name in sorted(texts, key=lambda name: body.index(marks[name].encode())):
            head, _, body = body.partition(orjson.dumps(marks[name]))
            value = self._open(texts[name])
            size += len(head) + value.size
            parts += [[head], value.blocks]
        return JsonBlocks(size + len(body), chain(*parts, [body]))

    def read(self, prediction: Prediction, base_url: str = "") -> Any:
        """The same as an object: all of it is in memory."""
        return orjson.loads(b"".join(self.render(prediction, base_url).blocks))

    def _texts(
        self, prediction: Prediction, base_url: str, *, with_output: bool
    ) -> dict[str, StoredText | bytes]:
        texts: dict[str, StoredText | bytes] = {}
        if prediction.input_key:
            texts["input"] = StoredText.from_input(prediction)
        if prediction.output_key and with_output:
            texts["output"] = StoredText(prediction.output_key)
            if (prediction.output or {}).get("files"):
                texts["output"] = self._with_links(prediction, base_url)
        return texts

    def _with_links(self, prediction: Prediction, base_url: str) -> bytes:
        """An output that may name files has to be read: each reader gets links of its own."""
        output = self.stored.whole_output(prediction)
        base = self._view.base_for(prediction, base_url)
        return orjson.dumps(self._view.with_links(output, prediction.id, base))

    def _open(self, text: StoredText | bytes) -> JsonBlocks:
        if isinstance(text, bytes):
            return JsonBlocks(len(text), [text])
        blocks, size = self.stored.open(text.key)
        blocks = _without_first(blocks, text.skip)
        return JsonBlocks(len(text.head) + size - text.skip, chain([text.head], blocks))


def _without_first(blocks: Iterator[bytes], count: int) -> Iterator[bytes]:
    return chain([next(blocks, b"")[count:]], blocks) if count else blocks
