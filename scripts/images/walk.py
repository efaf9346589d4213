"""What a person does first with a running platform, from outside: predictions through the proxy with TLS,
pictures by their links, every container killed, and a count of what became of each accepted prediction.

Knows the public API and an address; knows no container.
"""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

ENDED = ("succeeded", "failed", "canceled")
WAIT_SECONDS = 240.0  # the first prediction of a model loads torch and the model
PNG = b"\x89PNG"


class WentWrong(Exception):
    """Something that a person would see."""


@dataclass(frozen=True)
class Outside:
    """A caller: the platform's address, a key, and the authority that the proxy's certificate is from."""

    url: str
    key: str
    authority: str

    def client(self, **options: Any) -> httpx.Client:
        """Believes no certificate but the proxy's own."""
        context = ssl.create_default_context(cadata=self.authority)
        headers = {"Authorization": f"Bearer {self.key}"}
        given = {"base_url": self.url, "headers": headers, "timeout": 30.0, **options}
        return httpx.Client(verify=context, trust_env=False, **given)


def ended(client: httpx.Client, made: dict[str, Any], seconds: float = WAIT_SECONDS) -> dict[str, Any]:
    """The prediction once it has ended. Raises WentWrong."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = client.get(f"/v1/predictions/{made['id']}").raise_for_status().json()
        if answer["status"] in ENDED:
            return dict(answer)
        time.sleep(0.3)
    raise WentWrong(f"a prediction of {made['model']} is {answer['status']} after {seconds:g} s: {answer}")


def run(client: httpx.Client, version: str, given: dict[str, Any]) -> dict[str, Any]:
    """Makes a prediction and waits for it. Raises WentWrong when it fails."""
    body = {"version": version, "input": given}
    answer = client.post("/v1/predictions", json=body)
    if answer.status_code != httpx.codes.CREATED:
        raise WentWrong(f"{version}: {answer.status_code} {answer.text}")
    prediction = ended(client, answer.json())
    if prediction["status"] != "succeeded":
        raise WentWrong(f"{version} {prediction['status']}: {prediction['error']}")
    return prediction


def first_predictions(outside: Outside) -> str:
    """The README's: echo, words as a stream, minilm, a digit as a picture. The picture's link."""
    with outside.client() as client:
        assert_equal(run(client, "demo/echo", {"text": "hello"})["output"], "hello")
        assert_equal(len(run(client, "demo/minilm", {"text": "hello"})["output"]), 384)
        streamed = client.post(
            "/v1/predictions",
            json={"version": "demo/words", "input": {"prompt": "Alice was"}, "stream": True},
        ).json()
        address = httpx.URL(streamed["urls"]["stream"])
        with client.stream(
            "GET", address.raw_path.decode(), headers={"Accept": "text/event-stream"}
        ) as events:
            said = events.read().decode()
        if "event: output" not in said or "event: done" not in said:
            raise WentWrong(f"the stream of demo/words was {said[:500]!r}")
        output = run(client, "demo/digits", {"prompt": "seven"})["output"]
    return str(output[0] if isinstance(output, list) else output)


def assert_equal(found: object, wanted: object) -> None:
    """Raises WentWrong."""
    if found != wanted:
        raise WentWrong(f"{found!r} instead of {wanted!r}")


@dataclass
class Calls:
    """Predictions of demo/echo that are made until `stop`, each with a text of its own."""

    outside: Outside
    callers: int = 3
    accepted: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """While the block runs."""
        threads = [threading.Thread(target=self._call, daemon=True) for _ in range(self.callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _call(self) -> None:
        with self.outside.client(timeout=10.0) as client:
            while not self._stopped.is_set():
                text = uuid4().hex
                body = {"version": "demo/echo", "input": {"text": text, "seconds": 0.2}}
                try:
                    answer = client.post("/v1/predictions", json=body)
                except httpx.HTTPError:
                    self.refused += 1
                else:
                    if answer.status_code == httpx.codes.CREATED:
                        self.accepted[answer.json()["id"]] = text
                    else:
                        self.refused += 1
                time.sleep(0.1)

    def lost(self) -> list[str]:
        """What was accepted and did not end with its own text. Waits for it."""
        wrong = []
        with self.outside.client() as client:
            for prediction_id, text in self.accepted.items():
                answer = ended(client, {"id": prediction_id, "model": "demo/echo"})
                if (answer["status"], answer["output"]) != ("succeeded", text):
                    wrong.append(f"{prediction_id}: {answer['status']} {answer['error']}")
        return wrong


def fetch_picture(outside: Outside, link: str) -> int:
    """Follows a signed link as somebody does who has no key; the picture's bytes. Raises WentWrong."""
    with outside.client(headers={}) as client:
        answer = client.get(link)
        if answer.status_code != httpx.codes.OK or not answer.content.startswith(PNG):
            raise WentWrong(f"{link}: {answer.status_code} {answer.content[:200]!r}")
        forged = client.get(link.replace("Signature=", "Signature=0"))
        if forged.status_code != httpx.codes.FORBIDDEN:
            raise WentWrong(f"a forged link was answered {forged.status_code}")
    return len(answer.content)
