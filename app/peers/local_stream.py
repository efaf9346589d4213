"""The output of a prediction of this platform while it is made: its stream, as the API sends it."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import trio

from app.domain.peers import BACKEND
from app.domain.streamed_output import CHUNKS
from app.peers.messages import PeerFailed

MOST_BREAKS = 5  # in a row without an event, a second apart: an API process may be starting again
BREAK_SECONDS = 1.0

SendPiece = Callable[[Any], Awaitable[None]]
Look = Callable[[], Awaitable[dict[str, Any]]]
# (path, id of the last event) -> the lines of one connection; none where there is no answer.
ReadLines = Callable[[str, str], AsyncGenerator[str]]


class LocalStream:
    """`url`: where the prediction is streamed; `look`: the prediction as it is now. `sent` are the pieces
    that were passed on: none of an output that is no list."""

    def __init__(self, read_lines: ReadLines, url: str, look: Look, send_piece: SendPiece) -> None:
        self._read_lines, self._look = read_lines, look
        self._path = "/v1/streams/" + url.rpartition("/")[2]
        self._send_piece = send_piece
        self._last_id = ""
        self._has_ended = False
        self.sent: list[Any] = []

    async def pass_on(self) -> None:
        """All pieces, each as it comes. Where the stream breaks, it is resumed. Raises PeerFailed."""
        breaks = 0
        while True:
            before = self._last_id
            await self._read()
            if self._has_ended:
                return
            breaks = 1 if self._last_id != before else breaks + 1
            if breaks > MOST_BREAKS:
                raise PeerFailed("has no stream of its own platform")
            await trio.sleep(BREAK_SECONDS if breaks > 1 else 0)

    async def _read(self) -> None:
        """One connection, to its end."""
        fields: dict[str, str] = {}
        async with aclosing(self._read_lines(self._path, self._last_id)) as lines:
            async for line in lines:
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    await self._on_event(fields)
                    fields = {}

    async def _on_event(self, fields: dict[str, str]) -> None:
        kind = fields.get("event")
        if kind == "restart" and self.sent:
            raise PeerFailed("began its output anew")
        if kind == "output" and (self.sent or not await self._is_whole()):
            piece = json.loads(fields["data"])
            await self._send_piece(piece)
            self.sent.append(piece)
        self._has_ended = kind == "done"
        self._last_id = fields.get("id", self._last_id)

    async def _is_whole(self) -> bool:
        """Whether the first piece is an output that is no list: such a one comes at the end only."""
        prediction = await self._look()
        output = prediction.get("output")
        has_chunks = isinstance(output, dict) and isinstance(output.get(CHUNKS), list)
        return bool(prediction.get("completed_at")) and not (has_chunks or isinstance(output, list))


def last_message(prediction: dict[str, Any], sent: list[Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Of a prediction that succeeded, for the peer, which has had the pieces `sent`. Raises PeerFailed where
    its output is not what was sent."""
    message = {"done": True, "pieces": len(sent), "metrics": metrics}
    output = prediction.get("output")
    if not sent or isinstance(output, dict):
        return {**message, "output": output}
    if not isinstance(output, list) or len(output) != len(sent):
        raise PeerFailed("streamed another output than it has in the end", BACKEND)
    return message
