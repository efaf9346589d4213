"""A text as it is made, over server-sent events: `python stream.py demo/words "The whale"`.

Needs httpx. A connection that breaks is opened again where it broke; `restart` voids what came before.
"""

import os
import sys
import time
from collections.abc import Iterator

import httpx

TRIES = 5


def events(client: httpx.Client, url: str) -> Iterator[tuple[str, str]]:
    """(event, data) of a stream, over broken connections."""
    last_id, tries = "", TRIES
    while tries:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with client.stream("GET", url, headers=headers) as answer:
                if answer.status_code != httpx.codes.OK:
                    sys.exit(f"the stream answers {answer.status_code}: {answer.read().decode()}")
                for name, data, event_id in parsed(answer.iter_lines()):
                    tries, last_id = TRIES, event_id or last_id
                    yield name, data
                    if name == "done":
                        return
        except httpx.TransportError:
            pass
        tries -= 1
        time.sleep(1)
    sys.exit("the stream broke too often")


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, str, str]]:
    """(event, data, id) of each block of lines."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif not line and fields:
            yield (
                fields.get("event", ["message"])[0],
                "\n".join(fields.get("data", [])),
                fields.get("id", [""])[0],
            )
            fields = {}


def main(model: str, prompt: str) -> None:
    """Prints the pieces as they come."""
    headers = {"Authorization": f"Bearer {os.environ['LOVAGE_TOKEN']}"}
    url = os.environ.get("LOVAGE_URL", "http://127.0.0.1:8000")
    with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(60, connect=5)) as client:
        made = client.post("/v1/predictions", json={"version": model, "input": {"prompt": prompt}})
        if not made.is_success:
            sys.exit(f"{made.status_code}: {made.json()['detail']}")
        if "stream" not in made.json()["urls"]:
            sys.exit(f"{model} does not stream")
        for name, data in events(client, made.json()["urls"]["stream"]):
            if name == "output":
                print(data, end="", flush=True)
            elif name == "restart":
                print("\n-- again from the beginning --")
            elif name == "error":
                sys.exit(f"\n{data}")
    print()


if __name__ == "__main__":
    main(*sys.argv[1:3])
