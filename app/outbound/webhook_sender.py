"""Sends one webhook once and says what came of it. Thread-safe; decides nothing about retries."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from app.domain.webhooks import is_delivered
from app.outbound import webhook_signing
from app.outbound.addresses import AddressPolicy
from app.outbound.deadline import Deadline
from app.outbound.guard import Refused
from app.outbound.guarded_client import GuardedClient

READ_AT_MOST = 64_000
READ_SECONDS = 1.0  # for an answer's body, which nobody looks at
ERROR_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is None when no answer came; `error` is None when it was delivered; `seconds` it took."""

    status: int | None
    error: str | None
    seconds: float
    retry_after: float | None = None


class Sender:
    """One for each courier. `seconds` for a whole call, from resolving the name to the answer."""

    def __init__(self, *, policy: AddressPolicy, seconds: float, connections: int, user_agent: str) -> None:
        self._client = GuardedClient(policy, connections)
        self.seconds, self._user_agent = seconds, user_agent

    def send(
        self, url: str, message_id: str, body: bytes, keys: Sequence[str], request_id: str | None = None
    ) -> Outcome:
        """POSTs the body, signed now. Never raises for what a receiver does. `request_id` goes with it."""
        began = time.monotonic()
        head = {
            **webhook_signing.headers(message_id, body, keys, time.time()),
            "user-agent": self._user_agent,
            **({"x-request-id": request_id} if request_id else {}),
        }
        try:
            deadline = Deadline(self.seconds)
            with self._client.stream("POST", url, deadline, content=body, headers=head) as answer:
                self._read_some(answer)
                return self._outcome(answer, time.monotonic() - began)
        except Refused as error:
            return Outcome(None, f"The URL {error}.", time.monotonic() - began)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            return Outcome(None, f"No answer: {reason}"[:ERROR_LENGTH], time.monotonic() - began)

    def _read_some(self, answer: httpx.Response) -> None:
        """Reads a little, so that the connection can be used again; a slow, long or broken body is cut off,
        and the head counts."""
        size = 0
        with contextlib.suppress(httpx.HTTPError), Deadline(READ_SECONDS).bind():
            for block in answer.iter_raw():
                size += len(block)
                if size > READ_AT_MOST:
                    return

    @staticmethod
    def _outcome(answer: httpx.Response, seconds: float) -> Outcome:
        status = answer.status_code
        if is_delivered(status):
            return Outcome(status, None, seconds)
        what = "redirects are not followed" if answer.is_redirect else "not a success"
        return Outcome(status, f"The receiver answered {status}: {what}.", seconds, retry_after(answer))

    def close(self) -> None:
        self._client.close()


def retry_after(answer: httpx.Response) -> float | None:
    """The Retry-After header in seconds, whether it is a number or an HTTP date."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
