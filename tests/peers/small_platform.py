"""The part of a platform's API that a peer uses, on loopback: `model` streams `words` words, one every
`pause` seconds, and echoes an input that names none. It counts what was canceled. A row shows its output at
the end only, as rows of the platform are written: what comes before is in the stream."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCHEMAS = {
    "Input": {"type": "object", "properties": {"words": {"type": "integer"}, "text": {"type": "string"}}},
    "Output": {
        "title": "Output",
        "type": "array",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
    },
}
KEY = "the-key-of-the-peers-user"


@dataclass
class SmallPlatform:
    model: str = "ada/words"
    version: str = "1" * 64
    pause: float = 0.05
    cuts: bool = False
    refuses: bool = False
    canceled: list[str] = field(default_factory=list)
    predictions: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def __enter__(self) -> "SmallPlatform":
        platform = self

        class Handler(_Handler):
            own = platform

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def listed(self) -> dict[str, Any]:
        owner, _, name = self.model.partition("/")
        version = {"id": self.version, "runtime": "echo", "task": "words", "streams": True}
        sent_on = {"id": "2" * 64, "runtime": "backend", "task": "words", "streams": True}
        return {
            "results": [
                {"owner": owner, "name": name, "latest_version": version},
                {"owner": owner, "name": "elsewhere", "latest_version": sent_on},
                {"owner": owner, "name": "empty", "latest_version": None},
            ],
            "next": None,
        }

    def shown(self, id_: str) -> dict[str, Any]:
        words = int(self.predictions[id_][1].get("words", 0))
        count = len(self.output(id_)) if words else 0
        has_ended = count == words or id_ in self.canceled
        status = "canceled" if id_ in self.canceled else "succeeded" if has_ended else "processing"
        return {
            "id": id_,
            "status": status,
            "completed_at": "now" if has_ended else None,
            "output": self.output(id_) if has_ended else None,
            "urls": {"stream": f"{self.url}/v1/streams/{id_}"} if words else {},
            "metrics": {"output_tokens": count},
        }

    def output(self, id_: str) -> Any:
        """As much as has been made by now."""
        began, values = self.predictions[id_]
        words = int(values.get("words", 0))
        count = words if self.pause == 0 else min(words, int((time.monotonic() - began) / self.pause))
        return [f"w{number} " for number in range(count)] if words else values.get("text")


class _Handler(BaseHTTPRequestHandler):
    own: SmallPlatform
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _say(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, id_: str) -> None:
        """Server-sent events. `cuts`: as a proxy may, it ends each connection after two pieces."""
        last = self.headers.get("Last-Event-ID")
        number = int(last) + 1 if last else 0
        cut_at = number + 2 if self.own.cuts else None
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            has_ended = self.own.shown(id_)["completed_at"]
            for piece in self.own.output(id_)[number:cut_at]:
                self.wfile.write(f"event: output\nid: {number}\ndata: {json.dumps(piece)}\n\n".encode())
                number += 1
            if number == cut_at:
                return
            if has_ended:
                self.wfile.write(b"event: done\nid: x\ndata: {}\n\n")
                return
            time.sleep(self.own.pause / 5)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/v1/streams/"):
            with suppress(OSError):  # its reader has left
                self._stream(path.rpartition("/")[2])
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            self._say({"detail": "wants a key"}, 401)
        elif path == "/v1/models":
            self._say(self.own.listed())
        elif path == f"/v1/models/{self.own.model}":
            version = self.own.listed()["results"][0]["latest_version"]
            self._say({"latest_version": {**version, "openapi_schema": {"components": {"schemas": SCHEMAS}}}})
        elif (id_ := path.rpartition("/")[2]) in self.own.predictions:
            self._say(self.own.shown(id_))
        else:
            self._say({"detail": "is not here"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path.endswith("/cancel"):
            self.own.canceled.append(self.path.split("/")[-2])
            self._say({})
        elif self.own.refuses:
            self._say({"detail": "this key may not do that"}, 403)
        elif body["input"].get("words") == -1:
            self._say({"detail": "words must be positive"}, 422)
        else:
            id_ = f"p{len(self.own.predictions)}"
            self.own.predictions[id_] = (time.monotonic(), body["input"])
            self._say(self.own.shown(id_), 201)
