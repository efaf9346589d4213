"""Bounds on the head of a request, in uvicorn's own protocol: no application ever sees a head that does not
end.

A head that is too long or too slow, and bytes that are no HTTP, are answered in the one shape of errors, and
the connection is closed. Knows no route; bounds on bodies are the middleware's.
"""

import asyncio
from asyncio import TimerHandle
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.middleware import WHOLE_BODY, request_id
from app.api.problems import encode_error

HEAD_SECONDS = 10.0  # from a head's first byte to its last, however slowly they drip
LONGEST_HEAD = 65_536  # bytes of all header lines; credentials have 4 kB at most
LONGEST_URL = 16_384  # bytes; the longest that is asked for is a cursor of 500
SENTENCES = {
    400: "These bytes are not an HTTP request.",
    408: f"The head of a request must have arrived within {HEAD_SECONDS:.0f} s.",
    414: f"A URL may have at most {LONGEST_URL} bytes.",
    431: f"The headers of a request may have at most {LONGEST_HEAD} bytes.",
}


class BoundedHttp(HttpToolsProtocol):
    """One for each connection."""

    _deadline: TimerHandle | None = None
    _in_head = False  # from the first byte of a request to the end of its headers
    _began_here = False  # whether the head began in the bytes that are being parsed
    _head_size = 0  # of the header lines that are complete
    _waiting_size = 0  # of what came after the first piece of a head that is not complete yet
    _fault = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # uvicorn lets a connection that says nothing stay for ever; it may stay as long as one between two
        # requests.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._began_here = False
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if not self._began_here:  # a first piece is as long as one read at most
            self._waiting_size += len(data)
        if self._waiting_size > LONGEST_HEAD:
            self._refuse(414 if not self.headers and len(self.url) > LONGEST_URL else 431)
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._began_here = True
        self._head_size = self._waiting_size = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > LONGEST_URL:
            self._stop_parsing(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_size += len(name) + len(value)
        if self._head_size > LONGEST_HEAD:
            self._stop_parsing(431)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._forget_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cast(dict[str, object], self.scope)[WHOLE_BODY] = True

    def _stop_parsing(self, status: int) -> None:
        """Ends the parser by an error, after which it asks for `send_400_response`."""
        self._fault = status
        raise ValueError(SENTENCES[status])

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._fault)

    def _refuse(self, status: int) -> None:
        """Answers, unless an answer is on its way already, and closes the connection."""
        self._forget_deadline()
        if not self.transport.is_closing() and (self.cycle is None or self._may_answer()):
            self.transport.write(_answer(status))
        self.transport.close()

    def _may_answer(self) -> bool:
        return self.cycle.response_complete or not self.cycle.response_started

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _answer(status: int) -> bytes:
    name = request_id(None)
    body, kind = encode_error(None, status, SENTENCES[status], name)
    head = [
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        "connection: close",
        f"x-request-id: {name}",
        "",
        "",
    ]
    return STATUS_LINE[status] + "\r\n".join(head).encode() + body
