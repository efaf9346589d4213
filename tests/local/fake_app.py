"""A stand-in for `python -m app` with the same commands: real processes that do nothing but live, log and
drain.

Each appends what happens to it to `<LOVAGE_DATA_DIR>/events`. `FAKE_*` variables make it misbehave.
"""

import http.server
import os
import signal
import sys
import time
from pathlib import Path

command = sys.argv[1]
name = "courier" if "--courier" in sys.argv else "gateway" if "--backends" in sys.argv else command
data_dir = Path(os.environ["LOVAGE_DATA_DIR"])


def note(event: str) -> None:
    with (data_dir / "events").open("a") as file:
        file.write(f"{name} {event}\n")


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def drain(number: int, frame: object) -> None:
    time.sleep(float(os.environ.get("FAKE_DRAIN_S", "0.1")))
    note("drained")
    os._exit(0)


signal.signal(signal.SIGTERM, drain)
note("started")
if command in ("migrate", "bootstrap"):
    import psycopg2

    with psycopg2.connect(os.environ["DATABASE_URL"].replace("+psycopg2", "")) as connection:
        connection.cursor().execute(
            "CREATE TABLE IF NOT EXISTS kept (n serial); INSERT INTO kept DEFAULT VALUES"
        )
    sys.exit(int(os.environ.get("FAKE_EXIT_" + command.upper(), "0")))
print(f"hello from {name}", flush=True)
if command == "api":
    if os.environ.get("FAKE_API_BROKEN"):
        sys.exit("no such setting")
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Ready).serve_forever()
while True:
    time.sleep(60)
