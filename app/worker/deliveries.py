"""The courier's work: take due deliveries, send them with no transaction open, write down what came of it. Thread-safe."""

import hashlib
import random
import threading
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog

from app.coalesce import ThreadCoalescer
from app.db import deliveries as table
from app.db.deliveries import Delivery, Result
from app.db.session import Database
from app.domain.errors import Unavailable
from app.domain.webhooks import next_delay
from app.webhooks.sender import Outcome, Sender
from app.webhooks.signing import PREFIX

log = structlog.get_logger(__name__)

GROUP = 64
OPEN_PER_HOST = 5  # one slow receiver holds at most these; other hosts go on
DUE_AT_ONCE = 64


def platform_secret(secret_key: str) -> str:
    """Signs the webhooks of anonymous predictions, which have no user with a secret."""
    return PREFIX + b64encode(hashlib.sha256(b"lovage anonymous webhooks\x00" + secret_key.encode()).digest()).decode()


class Courier:
    """`deliver` is called with an id by each doorbell, `deliver_due` by the sweep."""

    def __init__(self, database: Database, sender: Sender, anonymous_secret: str, concurrency: int) -> None:
        self._database, self._sender, self._anonymous = database, sender, anonymous_secret
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="courier")
        self._hosts: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(OPEN_PER_HOST))
        self._take: ThreadCoalescer[str, Delivery | None] = ThreadCoalescer(self._take_group, limit=GROUP)
        self._record: ThreadCoalescer[Result, None] = ThreadCoalescer(self._record_group, limit=GROUP)

    def deliver(self, delivery_id: str) -> bool:
        """Sends one delivery if it is due and nobody else has it. Returns whether it was delivered now."""
        try:
            delivery = self._take(delivery_id)
        except Unavailable:
            return False  # the sweep comes back to it
        return self._send(delivery) if delivery else False

    def deliver_due(self) -> int:
        """Sends what is due now, several at once. Returns how many were tried."""
        with self._database.unit() as session:
            due = table.take_due(session, DUE_AT_ONCE)
        list(self._threads.map(self._send, due))
        return len(due)

    def _take_group(self, ids: list[str]) -> Sequence[Delivery | None]:
        with self._database.unit() as session:
            taken = {delivery.id: delivery for delivery in table.take(session, sorted(set(ids)))}
        return [taken.pop(delivery_id, None) for delivery_id in ids]  # an id asked for twice is sent once

    def _record_group(self, results: list[Result]) -> Sequence[None]:
        with self._database.unit() as session:
            table.record(session, results)
        return [None] * len(results)

    def _send(self, delivery: Delivery) -> bool:
        key = delivery.secret or self._anonymous
        with self._hosts[urlsplit(delivery.url).netloc]:
            outcome = self._sender.send(delivery.url, delivery.id, delivery.body, [key])
        result = judge(delivery, outcome, random.uniform(-1, 1))
        try:
            self._record(result)
        except Unavailable:
            log.warning("delivery_not_recorded", delivery=delivery.id)  # its lease ends, and it is sent again
        if outcome.error:
            log.info(
                "delivery_failed", delivery=delivery.id, tries=delivery.tries + 1, reason=outcome.error, next_in=result.delay
            )
        return outcome.error is None

    def close(self) -> None:
        """Waits for what is being sent."""
        self._threads.shutdown(wait=True)
        self._sender.close()


def judge(delivery: Delivery, outcome: Outcome, jitter: float) -> Result:
    """What to write down: delivered, again in `delay` seconds, or given up."""
    delay = None
    if outcome.error is not None:
        delay = next_delay(delivery.event, delivery.tries + 1, outcome.status, outcome.retry_after, jitter)
    return Result(delivery.id, outcome.status, outcome.error, round(outcome.seconds, 3), delay)
