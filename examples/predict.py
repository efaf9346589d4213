"""One prediction over HTTP: `python predict.py demo/echo '{"text": "hello"}'`.

Needs httpx. LOVAGE_URL says where the platform is, LOVAGE_TOKEN is a key.
"""

import json
import os
import sys
import time
import uuid
from typing import Any

import httpx

TRIES = 6
ENDED = ("succeeded", "failed", "canceled")


def call(client: httpx.Client, method: str, path: str, **kwargs: Any) -> Any:
    """The JSON of an answer. What may pass (no connection, 429, 503) is tried again, after as long as the
    platform asks for; the Idempotency-Key sees to it that a repeated request makes no second prediction."""
    for left in reversed(range(TRIES)):
        try:
            answer = client.request(method, path, **kwargs)
        except httpx.TransportError as error:
            if not left:
                sys.exit(f"{client.base_url} cannot be reached: {error}")
            time.sleep(1)
            continue
        if answer.is_success:
            return answer.json()
        if answer.status_code not in (429, 503) or not left:
            sys.exit(sentence_of(answer))
        time.sleep(float(answer.headers.get("retry-after", 1)))
    raise AssertionError("the last try has ended the program")


def sentence_of(answer: httpx.Response) -> str:
    """What a refusal says."""
    if "json" not in answer.headers.get("content-type", ""):
        return f"{answer.status_code}: {answer.text[:500]}"
    problem = answer.json()
    return f"{answer.status_code} {problem['code']}: {problem['detail']}"


def main(model: str, text: str) -> None:
    """Creates it, waits for its end, prints its output."""
    headers = {"Authorization": f"Bearer {os.environ['LOVAGE_TOKEN']}"}
    url = os.environ.get("LOVAGE_URL", "http://127.0.0.1:8000")
    with httpx.Client(base_url=url, headers=headers, timeout=70) as client:
        body = {"version": model, "input": json.loads(text)}
        once = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "wait=30"}
        prediction = call(client, "POST", "/v1/predictions", json=body, headers=once)
        while prediction["status"] not in ENDED:  # it took longer than 30 s
            time.sleep(1)
            prediction = call(client, "GET", f"/v1/predictions/{prediction['id']}")
    if prediction["status"] != "succeeded":
        sys.exit(f"{prediction['id']} {prediction['status']}: {prediction['error']}")
    print(json.dumps(prediction["output"]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
