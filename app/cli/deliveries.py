"""`lovage webhooks ls | redeliver | listen`: deliveries, and a receiver on this machine that verifies."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Annotated, Any

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, PAGE, Api, show_json, show_outcome, stop
from app.cli.lookups import find_prediction
from lovage.errors import LovageError
from lovage.webhooks import verify

LONGEST_BODY = 20_000_000  # bytes; a webhook of ours has at most 8 million
LOOK_SECONDS = 0.2  # at whether enough have come
OK, REFUSED = 204, 400
TOO_LONG = 413


def add_to(webhooks: typer.Typer) -> None:
    """Registers the commands in the group."""
    for command in (ls, redeliver, listen):
        webhooks.command(command.__name__)(command)


def ls(
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that were given up or are tried again.")
    ] = False,
    user: Annotated[str | None, typer.Option(help="Administrators: somebody's.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many.")] = 20,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """List deliveries, newest first, each with what its receiver answered last."""
    params = {"failed": "true" if failed else None, "user": user}
    filters = {name: value for name, value in params.items() if value}
    rows = list(islice(Api().webhooks.deliveries(**filters, limit=min(PAGE, limit)), limit))
    if as_json:
        show_json(rows)
        return
    table = screen.new_table("id", "event", "status", "tries", "created", "answer", "url")
    for row in rows:
        last = row["attempts"][-1] if row["attempts"] else {}
        answer = last.get("error") or str(last.get("status_code") or "")
        created = row["created_at"][:19].replace("T", " ")
        table.add_row(
            row["prediction"], row["event"], row["status"], str(row["tries"]), created, answer, row["url"]
        )
    screen.console().print(table)


def redeliver(
    predictions: Annotated[list[str] | None, typer.Argument(help="Ids of predictions.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Of all your deliveries that were given up.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Send the webhooks of predictions again: the same ids and bodies, newly signed."""
    api = Api()
    if failed == bool(predictions):
        stop("give the ids of predictions, or --failed", EXIT_USAGE)
    chosen = [(find_prediction(api, each), "") for each in predictions or []]
    if failed:
        rows = list(api.webhooks.deliveries(failed="true", limit=PAGE))
        chosen += [(row["prediction"], row["id"]) for row in rows if row["status"] == "given_up"]
    again = [each for prediction, id in chosen for each in api.webhooks.redeliver(prediction, id)]
    sentence = f"{len(again)} sent again" if again else "nothing to send again"
    show_outcome({"redelivered": again}, sentence, as_json)


def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8910,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many; 0: never.")] = 0,
) -> None:
    """Receive webhooks on this machine, verify their signatures and print them. The platform must be allowed
    to call this machine (ALLOW_PRIVATE_ADDRESSES)."""
    receiver = Receiver(port, Api().webhooks.secret())
    print(f"webhook: http://127.0.0.1:{receiver.server_port}/", flush=True)
    while not count or receiver.received < count:
        receiver.handle_request()


class Receiver(ThreadingHTTPServer):
    """On loopback. Answers 204 to what is signed with the secret, 400 to anything else."""

    daemon_threads = False  # what is being answered when the last was counted is still answered
    timeout = LOOK_SECONDS  # a request is counted by its own thread, after it was accepted here

    def __init__(self, port: int, secret: str) -> None:
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            stop(f"port {port}: {error.strerror}", EXIT_USAGE)
        self.secret = secret
        self.received = 0


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver
    timeout = 10

    def do_POST(self) -> None:
        """Verified, then printed."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self._answer(TOO_LONG)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            shown = line_of(verify(self.server.secret, body, headers))
            status = OK
        except LovageError as error:
            shown, status = f"refused: {error}", REFUSED
        self._answer(status)
        print(screen.visible(shown), flush=True)
        self.server.received += 1

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """What is worth a line is printed."""


def line_of(prediction: Any) -> str:
    """One line about the prediction in a webhook's body."""
    outcome = prediction["error"] or prediction["output"]
    text = outcome if isinstance(outcome, str) else json.dumps(outcome, ensure_ascii=False)
    return f"{prediction['id']} {prediction['model']} {prediction['status']} {text[:200]}"
