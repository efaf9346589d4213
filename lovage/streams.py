"""A prediction's stream over HTTP, read line by line, resumed where it broke off. Opens no connection."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lovage.errors import LovageError, Refused, Unreachable
from lovage.flow import Answer, as_error, pause_before
from lovage.values import Event, Prediction

TRIES = 6  # in a row without an event


class StreamReader:
    """Of one prediction. For each connection: `headers`, `check`, then `feed` for each line; `broke` when it
    ends before `is_over`."""

    def __init__(self, prediction: Prediction) -> None:
        """Raises Refused for a model that does not stream."""
        url = prediction.data["urls"].get("stream")
        if url is None:
            raise Refused(f"{prediction.model} does not stream", code="invalid_request")
        self.url: str = url
        self._id = prediction.id
        self.is_over = False
        self._last_id, self._tries, self._number = "", 0, 0
        self._fields: dict[str, list[str]] = {}

    @property
    def headers(self) -> dict[str, str]:
        """Of the next connection."""
        self._fields = {}
        return {"Accept": "text/event-stream", **({"Last-Event-ID": self._last_id} if self._last_id else {})}

    def check(self, status: int, headers: Mapping[str, str], text: str) -> None:
        """Raises Refused for an answer that says no and will again."""
        if status < 400:
            return
        try:
            data: Any = json.loads(text)
        except ValueError:
            data = None
        error = as_error(Answer(status, data, headers))
        raise Unreachable(str(error), code=error.code) if status in (429, 502, 503, 504) else error

    def feed(self, line: str) -> Event | None:
        """An event, when this line ends one that is to be seen. What failed, the prediction says."""
        if line:
            name, _, value = line.partition(":")
            if name:
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if not fields:
            return None
        self._tries, self._last_id = 0, fields.get("id", [self._last_id])[-1]
        kind = fields.get("event", ["message"])[0]
        self.is_over = kind == "done"
        if kind == "output":
            return self.number(Event(0, "output", "\n".join(fields.get("data", []))))
        return self.number(Event(0, "restart")) if kind == "restart" else None

    def number(self, event: Event) -> Event:
        """The event with the next number."""
        self._number += 1
        return replace(event, number=self._number, id=self._id)

    def broke(self, error: LovageError | None) -> float:
        """Seconds to wait before the next connection. Raises Unreachable when it broke too often."""
        self._tries += 1
        if self._tries >= TRIES:
            raise error or Unreachable("the stream broke off too often", code="unreachable")
        return pause_before(self._tries) / 2
