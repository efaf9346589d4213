"""A worker's, courier's or clock's health and metrics, over HTTP on HEALTH_PORT.

The port answers `/health` while the process does, `/ready` by asking, and `/metrics`. It knows no accounts.
"""

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address

import orjson
import structlog

from app.domain.errors import Unavailable
from app.observe.metrics import Exposition
from app.services.platform.metrics import may_scrape

log = structlog.get_logger(__name__)

CALLER_SECONDS = 5.0  # a caller that says nothing for so long is hung up on

Answer = tuple[int, bytes, str]


@dataclass(frozen=True, slots=True)
class HealthOptions:
    """`port` 0: none is opened. `metrics`: whether /metrics is served; without a `metrics_token` only to this
    machine."""

    host: str
    port: int
    metrics: bool = True
    metrics_token: str = ""


class Pulse:
    """Whether something that happens again and again has happened within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = float("-inf")

    def beat(self) -> None:
        """It has happened."""
        self._at = time.monotonic()

    def is_fresh(self) -> bool:
        return time.monotonic() - self._at < self._seconds


class HealthPort:
    """`start` once, `stop` at the end. `ready` may raise Unavailable. Without a port both do nothing."""

    def __init__(self, options: HealthOptions, exposition: Exposition, ready: Callable[[], bool]) -> None:
        self._options, self._exposition = options, exposition
        self._ready = ready
        self._server: socketserver.ThreadingTCPServer | None = None

    def start(self) -> int:
        """The port. A port that is taken is logged, and no reason not to run predictions."""
        if not self._options.port:
            return 0
        try:
            self._server = listen(self._options.host, self._options.port, self.answer)
        except OSError as error:
            log.error("health_port_not_open", port=self._options.port, reason=str(error))
            return 0
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, path: str, headers: dict[str, str], caller: str) -> Answer:
        """(status, body, content type)."""
        match path.partition("?")[0]:
            case "/health":
                return _json(200, {"status": "ok"})
            case "/ready":
                ready = self._is_ready()
                return _json(200 if ready else 503, {"status": "ready" if ready else "unavailable"})
            case "/metrics" if self._options.metrics:
                return self._metrics(headers, caller)
        return _json(404, {"detail": "There is /health, /ready and /metrics."})

    def _is_ready(self) -> bool:
        try:
            return self._ready()
        except Unavailable:
            return False

    def _metrics(self, headers: dict[str, str], caller: str) -> Answer:
        token = self._options.metrics_token
        if token and not may_scrape(token, headers.get("authorization")):
            return _json(401, {"detail": "Metrics need the header 'Authorization: Bearer <METRICS_TOKEN>'."})
        if not token and not ip_address(caller).is_loopback:
            return _json(
                403, {"detail": "Without METRICS_TOKEN, metrics are for callers of the same machine."}
            )
        body, content_type = self._exposition.render(headers.get("accept", ""))
        return 200, body, content_type


def _json(status: int, value: dict[str, str]) -> Answer:
    return status, orjson.dumps(value), "application/json"


def listen(
    host: str, port: int, answer: Callable[[str, dict[str, str], str], Answer]
) -> socketserver.ThreadingTCPServer:
    """A small HTTP server for GET. Raises OSError. `http.server`'s own would look its name up in the DNS."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CALLER_SECONDS
        server_version, sys_version = "Lovage", ""

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body, content_type = answer(
                self.path, headers, str(self.client_address[0]).partition("%")[0]
            )
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds; they are not worth a line."""

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, *_: object) -> None:
            """A caller that hung up."""

    return Server((host, port), Handler)
