"""Several predictions over one WebSocket: `python websocket_client.py demo/echo one two three`.

Needs websockets. Errors of one prediction leave the others alone; a connection that breaks is told.
"""

import json
import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def main(model: str, *texts: str) -> None:
    """Prints the outcome of each text, in the order in which they end."""
    url = os.environ.get("LOVAGE_URL", "http://127.0.0.1:8000").replace("http", "ws", 1)
    headers = {"Authorization": f"Bearer {os.environ['LOVAGE_TOKEN']}"}
    waiting, failed = dict(enumerate(texts)), False
    try:
        with connect(f"{url}/ws/example", additional_headers=headers) as socket:
            for number, text in waiting.items():
                request = {"type": "inference", "model": model, "inputs": {"text": text}}
                socket.send(json.dumps({**request, "request_id": str(number)}))
            while waiting:
                message = json.loads(socket.recv(timeout=60))
                if message["type"] == "ping":
                    socket.send(json.dumps({"type": "pong"}))
                if message["type"] not in ("result", "error"):
                    continue
                text = waiting.pop(int(message["request_id"]))
                prediction = message.get("prediction", {"status": "failed", "error": message.get("detail")})
                failed |= prediction["status"] != "succeeded"
                print(f"{text}: {prediction['status']} {prediction.get('output') or prediction['error']}")
    except InvalidStatus as error:
        sys.exit(f"{url} refused the connection: {error}")
    except (ConnectionClosed, TimeoutError, OSError) as error:
        # What was accepted runs on: GET /v1/predictions has it.
        sys.exit(f"the connection broke with {len(waiting)} to come: {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
