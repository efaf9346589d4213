"""The part of a platform's API that a peer uses, on loopback: `model` streams `words` words, one every
`pause` seconds, and echoes an input that names none. It counts what was canceled."""

import json
import threading
import time
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
        began, values = self.predictions[id_]
        words = int(values.get("words", 0))
        count = words if self.pause == 0 else min(words, int((time.monotonic() - began) / self.pause))
        has_ended = count == words or id_ in self.canceled
        status = "canceled" if id_ in self.canceled else "succeeded" if has_ended else "processing"
        return {
            "id": id_,
            "status": status,
            "completed_at": "now" if has_ended else None,
            "output": [f"w{number} " for number in range(count)] if words else values.get("text"),
            "urls": {"stream": "there"},
            "metrics": {"output_tokens": count},
        }


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

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {KEY}":
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
        elif body["input"].get("words") == -1:
            self._say({"detail": "words must be positive"}, 422)
        else:
            id_ = f"p{len(self.own.predictions)}"
            self.own.predictions[id_] = (time.monotonic(), body["input"])
            self._say(self.own.shown(id_), 201)
