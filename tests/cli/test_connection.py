"""What the command line says when its API is not there, or is something else: one sentence, no trace."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.cli.connection import Api
from app.cli.models import _exists

ABSENT = "http://127.0.0.1:9"


class Other(BaseHTTPRequestHandler):
    """Some other server: pages, a redirect, problems of its own."""

    def do_GET(self) -> None:
        if self.path.startswith("/pages?"):
            query = parse_qs(urlsplit(self.path).query)
            assert query["limit"] == ["100"], "of every page"
            return self._page(int(query.get("cursor", ["0"])[0]))
        status = {"/v1/models/a/moved": 301, "/v1/models/a/absent": 404, "/v1/models/a/broken": 500}.get(
            self.path, 200
        )
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>" if status == 200 else b"")

    def _page(self, number: int) -> None:
        body = {
            "results": [number] * 100,
            "next": f"https://elsewhere.test/pages?limit=100&cursor={number + 1}" if number < 2 else None,
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def other() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refusal(capsys: pytest.CaptureFixture[str], url: str, model: str) -> tuple[str, object]:
    """The sentence of a failed look-up, and its exit code."""
    with pytest.raises(SystemExit) as end:
        _exists(Api(url), "a", model)
    return capsys.readouterr().err, end.value.code


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("page", "not as Lovage does"),
        ("moved", "the server answered 301"),
        ("broken", "the server answered 500"),
    ],
)
def test_another_server_is_named_as_such(
    other: str, capsys: pytest.CaptureFixture[str], model: str, sentence: str
) -> None:
    text, code = refusal(capsys, other, model)
    assert text.startswith("lovage: ")
    assert sentence in text
    assert code == 1


@pytest.mark.parametrize(
    ("argument", "variable", "sent"),
    [
        ("", "", True),
        ("", "http://localhost:9", True),
        ("http://127.0.0.1:9", "https://lovage.example.com", True),
        ("", "https://lovage.example.com", False),
        ("https://lovage.example.com", "", False),
        ("http://192.0.2.1", "http://localhost:9", False),
    ],
)
def test_the_local_key_is_sent_to_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, variable: str, sent: bool
) -> None:
    (tmp_path / "key").write_text("lov_local\n")
    monkeypatch.setenv("LOVAGE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LOVAGE_URL", variable)
    monkeypatch.delenv("LOVAGE_TOKEN", raising=False)
    header = Api(argument).headers.get("authorization")
    assert header == ("Bearer lov_local" if sent else None)


@pytest.mark.parametrize(("most", "count"), [(None, 300), (150, 150), (100, 100)])
def test_lists_go_on_over_their_pages_on_the_same_host(other: str, most: int | None, count: int) -> None:
    assert len(Api(other).every("/pages", most=most)) == count


def test_a_model_that_is_not_there_is_no_failure(other: str) -> None:
    assert not _exists(Api(other), "a", "absent")


def test_a_platform_that_is_away_and_an_address_that_is_none_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, code = refusal(capsys, ABSENT, "x")
    assert ("does not answer" in text, code) == (True, 3)
    with pytest.raises(SystemExit) as end:
        Api("http://[::1")
    assert ("is not a URL" in capsys.readouterr().err, end.value.code) == (True, 2)
