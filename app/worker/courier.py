"""The courier's work: take due deliveries, send them with no transaction open, write down what came of it.
Thread-safe.

A delivery is leased only when a thread is free for it, its host has fewer than OPEN_PER_HOST open, and its
user fewer than there are free threads: a receiver that is slow or dead holds those few threads and nothing
else, and however many hosts a user names, some threads stay for the others. No lease runs out while its
delivery waits for its turn or is sent.
"""

import hashlib
import random
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog

from app.coalesce import ThreadCoalescer
from app.db import deliveries as table
from app.db.session import Database
from app.domain.deliveries import DeliveryResult, DueDelivery
from app.domain.errors import Unavailable
from app.domain.webhooks import SCHEDULE, next_delay
from app.observe import metrics
from app.observe.tracing import Period, Tracing, now
from app.outbound.webhook_sender import Outcome, Sender
from app.outbound.webhook_signing import PREFIX

log = structlog.get_logger(__name__)

GROUP = 64
OPEN_PER_HOST = 5
LEASE_MARGIN_SECONDS = 30.0  # beyond the longest time of a delivery: to write down what came of it
LOOK_SECONDS = 1.0  # between looks when no message comes: a retry that falls due is sent within this


def platform_secret(secret_key: str) -> str:
    """Signs the webhooks of anonymous predictions, which have no user with a secret."""
    return (
        PREFIX
        + b64encode(hashlib.sha256(b"lovage anonymous webhooks\x00" + secret_key.encode()).digest()).decode()
    )


def host_of(url: str) -> str:
    """As `db.deliveries` reads it: what stands between `//` and the next `/`, `?` or `#`."""
    return urlsplit(url).netloc.lower()


class Courier:
    """`start` once, `close` at the end. `on_message` is called at each message, `drain_messages` before each
    look into Postgres: the rows say what is due, so messages that have not been read yet need not be handled
    one by one."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        anonymous_secret: str,
        concurrency: int,
        *,
        schedule: Sequence[float] = SCHEDULE["completed"],
        drain_messages: Callable[[], object] = lambda: None,
    ) -> None:
        self._database, self._sender = database, sender
        self._anonymous_secret, self.concurrency = anonymous_secret, concurrency
        self._schedule, self._drain_messages = schedule, drain_messages
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="courier")
        self._open_hosts: Counter[str] = Counter()
        self._open_users: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._record: ThreadCoalescer[DeliveryResult, None] = ThreadCoalescer(self._record_group, limit=GROUP)
        self._wake, self._closing = threading.Event(), threading.Event()
        self._busy = False
        self.tracing: Tracing | None = None
        self.on_idle: Callable[[], None] = lambda: None
        self.on_begun: Callable[[DueDelivery], None] = lambda delivery: None
        self.on_tried: Callable[[DeliveryResult], None] = lambda result: None
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_message(self, delivery_id: str) -> None:
        """Something is due."""
        self._wake.set()

    @property
    def is_reading(self) -> bool:
        """Whether Celery should leave further messages where they are."""
        return self._busy or self._wake.is_set() or self._closing.is_set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._busy = True
            self._wake.clear()
            try:
                self._drain_messages()
                self._send_due()
            except Unavailable:
                self._closing.wait(LOOK_SECONDS)
            except Exception:  # one bad round must not end the courier
                log.exception("courier_broken")
                self._closing.wait(LOOK_SECONDS)
            self._busy = False
            if not self.is_reading:
                self.on_idle()

    def _send_due(self) -> list[Future[None]]:
        """Begins as many as there are threads for, until nothing more can begin."""
        begun: list[Future[None]] = []
        while not self._closing.is_set() and (leased := self._lease()):
            begun += [self._threads.submit(self._send, delivery) for delivery in leased]
        return begun

    def _lease(self) -> list[DueDelivery]:
        with self._lock:
            free = self.concurrency - self._open_hosts.total()
            now_open = table.OpenDeliveries(dict(self._open_hosts), dict(self._open_users), free)
        if free <= 0:
            return []
        # At most half at once: the other half is shared out when these are known to be open.
        limit, lease = min((free + 1) // 2, GROUP), self._sender.seconds + LEASE_MARGIN_SECONDS
        with self._database.unit() as session:
            leased = table.take_due(session, limit, now_open, OPEN_PER_HOST, lease)
        with self._lock:
            self._open_hosts.update(host_of(delivery.url) for delivery in leased)
            self._open_users.update(table.sender_of(delivery.user_id) for delivery in leased)
        return leased

    def _record_group(self, results: list[DeliveryResult]) -> Sequence[None]:
        with self._database.unit() as session:
            table.record(session, results)
        return [None] * len(results)

    def _send(self, delivery: DueDelivery) -> None:
        try:
            self._try(delivery)
        except Unavailable:
            log.warning("delivery_not_recorded", **delivery.log_names)  # its lease ends, and it is sent again
        except Exception:  # one bad delivery must not end its thread; its lease ends and it is sent again
            log.exception("delivery_broken", **delivery.log_names)
        finally:
            with self._lock:  # subtracting so removes what is 0
                self._open_hosts -= Counter({host_of(delivery.url): 1})
                self._open_users -= Counter({table.sender_of(delivery.user_id): 1})
            self._wake.set()

    def _try(self, delivery: DueDelivery) -> None:
        self.on_begun(delivery)
        outcome = self._sender.send(
            delivery.url,
            delivery.id,
            delivery.body,
            delivery.secrets or [self._anonymous_secret],
            delivery.request_id,
        )
        result = check(delivery, outcome, random.uniform(-1, 1), self._schedule)
        _log_attempt(delivery, outcome, result)
        if self.tracing and delivery.traceparent:
            _trace_attempt(self.tracing, delivery, outcome)
        count_attempt(result)
        self._record(result)
        self.on_tried(result)

    @property
    def open(self) -> int:
        """Deliveries under way."""
        with self._lock:
            return self._open_hosts.total()

    def close(self) -> None:
        """Waits for what is being sent."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_SECONDS * 5)
        self._threads.shutdown(wait=True)
        self._sender.close()


def _log_attempt(delivery: DueDelivery, outcome: Outcome, result: DeliveryResult) -> None:
    """One line for each try."""
    names = {**delivery.log_names, "tries": delivery.tries + 1, "ms": round(outcome.seconds * 1000)}
    if outcome.error:
        log.info("delivery_failed", **names, reason=outcome.error, next_in=result.delay)
    else:
        log.info("delivered", **names, status=outcome.status)


def _trace_attempt(tracing: Tracing, delivery: DueDelivery, outcome: Outcome) -> None:
    assert delivery.traceparent is not None
    ended = now()
    attributes = {
        "lovage.prediction": delivery.prediction_id,
        "lovage.request_id": delivery.request_id,
        "lovage.delivery": delivery.id,
        "http.response.status_code": outcome.status,
    }
    period = Period(ended - outcome.seconds, ended)
    tracing.write("webhook", delivery.traceparent, period, "client", attributes, outcome.error)


def count_attempt(result: DeliveryResult) -> None:
    """Counts one attempt more."""
    outcome = "delivered" if result.error is None else "given_up" if result.delay is None else "again"
    metrics.DELIVERIES.labels(outcome).inc()
    metrics.DELIVERY_SECONDS.observe(result.seconds)


def check(
    delivery: DueDelivery, outcome: Outcome, jitter: float, schedule: Sequence[float] = SCHEDULE["completed"]
) -> DeliveryResult:
    """What to write down: delivered, again in `delay` seconds, or given up. `schedule` is for the end of a
    prediction."""
    delay = None
    if outcome.error is not None:
        chosen = schedule if delivery.event == "completed" else SCHEDULE[delivery.event]
        delay = next_delay(chosen, delivery.tries + 1, outcome.status, outcome.retry_after, jitter)
    return DeliveryResult(delivery.id, outcome.status, outcome.error, round(outcome.seconds, 3), delay)
