"""Whether a worker is well, and its metrics: over HTTP on HEALTH_PORT, and as a command.

`python -m app.worker.health` ends with 0 when a worker of this host has been heard of lately, for containers. The port answers
`/health` while the process does, `/ready` by asking, and `/metrics`. It knows no accounts.
"""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address

import orjson
import structlog

from app.db import workers
from app.db.session import Database, connect
from app.domain.errors import Unavailable
from app.observe.metrics import Exposition
from app.services.gauges import may_scrape
from app.settings import Settings, load
from app.worker.heartbeat import this_host

log = structlog.get_logger(__name__)

CALLER_SECONDS = 5.0  # a caller that says nothing for so long is hung up on

Answer = tuple[int, bytes, str]


class HealthPort:
    """`start` once, `stop` at the end. `ready` may raise Unavailable. Without HEALTH_PORT both do nothing."""

    def __init__(self, settings: Settings, exposition: Exposition, ready: Callable[[], bool]) -> None:
        self._settings, self._exposition, self._ready = settings, exposition, ready
        self._server: socketserver.ThreadingTCPServer | None = None

    def start(self) -> int:
        """The port. A port that is taken is told to the log, and no reason not to run predictions."""
        if not self._settings.health_port:
            return 0
        try:
            self._server = listen(self._settings.health_host, self._settings.health_port, self.answer)
        except OSError as error:
            log.error("health_port_not_open", port=self._settings.health_port, reason=str(error))
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
            case "/metrics" if self._settings.metrics:
                return self._metrics(headers, caller)
        return _json(404, {"detail": "There is /health, /ready and /metrics."})

    def _is_ready(self) -> bool:
        try:
            return self._ready()
        except Unavailable:
            return False

    def _metrics(self, headers: dict[str, str], caller: str) -> Answer:
        token = self._settings.metrics_token
        if token and not may_scrape(token, headers.get("authorization")):
            return _json(401, {"detail": "Metrics need the header 'Authorization: Bearer <METRICS_TOKEN>'."})
        if not token and not ip_address(caller).is_loopback:
            return _json(403, {"detail": "Without METRICS_TOKEN, metrics are for callers of the same machine."})
        body, content_type = self._exposition.render(headers.get("accept", ""))
        return 200, body, content_type


def _json(status: int, value: dict[str, str]) -> Answer:
    return status, orjson.dumps(value), "application/json"


def listen(
    host: str, port: int, answer: Callable[[str, dict[str, str], str], Answer]
) -> socketserver.ThreadingTCPServer:  # fmt: skip
    """A small HTTP server for GET. Raises OSError. `http.server`'s own would look its name up in the DNS."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CALLER_SECONDS
        server_version, sys_version = "Lovage", ""

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body, content_type = answer(self.path, headers, str(self.client_address[0]).partition("%")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds; they are no news."""

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, *_: object) -> None:
            """A caller that hung up."""

    return Server((host, port), Handler)


def main() -> int:
    """0: a worker on this host lives."""
    settings = load()
    database = Database(connect(settings.database_url, pool=1, application="lovage-health"))
    try:
        with database.unit() as session:
            return 0 if any(row.host == this_host() for row in workers.live(session, settings.dead_after_seconds)) else 1
    except Unavailable:
        return 1
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
