"""What `lovage run --stream` prints of a stream that breaks off."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.cli.client_commands import _print_stream
from app.cli.connection import Api
from lovage import Prediction

ENDED = {"id": "p", "model": "a/b", "version": "v", "status": "succeeded"}

FIRST = "event: output\nid: 1\ndata: ab\n\n"
REST = "event: output\nid: 2\ndata: cd\n\nevent: done\nid: 3\ndata: {}\n\n"


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str | None]]]:
    """A URL that breaks the first connection off, and the Last-Event-ID of each."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403 if self.path == "/other" else 200)
            self.end_headers()
            if self.path == "/v1/predictions/p":
                self.wfile.write(json.dumps(ENDED).encode())
                return
            seen.append(self.headers["Last-Event-ID"])
            self.wfile.write((FIRST if len(seen) == 1 else REST).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def prediction(url: str) -> Prediction:
    return Prediction.from_json({**ENDED, "status": "starting", "urls": {"stream": url}})


def test_a_stream_that_broke_off_goes_on_behind_what_was_printed(asked, capsys) -> None:
    url, seen = asked
    ended = _print_stream(Api(url), prediction(f"{url}/stream"))
    assert ended == ENDED
    assert capsys.readouterr().out == "abcd\n"
    assert seen == [None, "1"]


def test_a_stream_that_is_refused_is_one_sentence(asked, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        _print_stream(Api(asked[0]), prediction(f"{asked[0]}/other"))
    assert ended.value.code == 3
    assert "the stream broke: the server answered 403" in capsys.readouterr().err
