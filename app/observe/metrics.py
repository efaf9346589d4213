"""All metrics by kind of process, as Prometheus defines them. docs/reference/metrics.md lists them, and a
test compares. Every process counts for itself, from its start; Prometheus adds up. Does not know what counts.
"""

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the lines

EVERYWHERE, API, WORKER, COURIER = (CollectorRegistry() for _ in range(4))
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MOST_NAMES = 200  # values of the label `model`; further ones are counted as `other`

ProcessCollector(registry=EVERYWHERE)
ACCEPTED = Counter(
    "lovage_predictions_accepted", "Predictions written to the database.", ["source"], registry=EVERYWHERE
)
ENDED = Counter(
    "lovage_predictions_ended", "Predictions ended by this process.", ["status"], registry=EVERYWHERE
)
RETURNED = Counter(
    "lovage_predictions_handed_back",
    "Attempts that a worker handed back: their predictions wait again.",
    registry=EVERYWHERE,
)
LATE = Counter(
    "lovage_late_results", "Results discarded: another attempt has the prediction.", registry=EVERYWHERE
)
SWEEPS = Counter("lovage_sweeps", "Sweeps that this process ran to their end.", registry=EVERYWHERE)

REQUESTS = Counter(
    "lovage_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=API
)
REQUEST_SECONDS = Histogram(
    "lovage_http_request_seconds",
    "From a request's headers to its answer's end.",
    ["method", "route"],
    buckets=SECONDS,
    registry=API,
)
RATE_LIMITED = Counter("lovage_rate_limited", "Calls refused by a rate limit.", ["policy"], registry=API)

CLAIMED = Counter(
    "lovage_predictions_claimed",
    "Predictions claimed, after a message, in turn, or by a poll.",
    ["how"],
    registry=WORKER,
)
PHASE_SECONDS = Counter(
    "lovage_phase_seconds", "Where the time of ended predictions went.", ["phase"], registry=WORKER
)
PREDICTION_SECONDS = Histogram(
    "lovage_prediction_seconds",
    "Seconds of ended predictions: queue, run, total.",
    ["phase"],
    buckets=LONG_SECONDS,
    registry=WORKER,
)
BATCHES = Counter(
    "lovage_batches", "Batches run: each prediction of a batch of n counts 1/n.", ["model"], registry=WORKER
)
BATCH_SIZE = Histogram(
    "lovage_batch_size", "Size of the batch that a prediction ran in.", buckets=ROWS, registry=WORKER
)
PADDING = Summary(
    "lovage_padding_share", "Share of padding in the batch that a prediction ran in, 0 to 1.", registry=WORKER
)
LOADS = Counter("lovage_model_loads", "Models loaded, or failed to.", ["model", "outcome"], registry=WORKER)
LOAD_SECONDS = Histogram(
    "lovage_model_load_seconds", "Time until a model was ready.", buckets=LONG_SECONDS, registry=WORKER
)
CRASHES = Counter(
    "lovage_model_crashes", "Deaths of model processes that nobody intended.", ["model"], registry=WORKER
)
EVICTIONS = Counter(
    "lovage_model_evictions", "Models unloaded because another needed their memory.", registry=WORKER
)
CACHE = Counter(
    "lovage_model_cache",
    "Predictions that found their model loaded (`hit`) or had to wait for its load (`miss`).",
    ["outcome"],
    registry=WORKER,
)

BACKEND_CALLS = Counter(
    "lovage_backend_calls", "Calls to a backend that have ended.", ["backend", "outcome"], registry=WORKER
)
BACKEND_SECONDS = Histogram(
    "lovage_backend_seconds", "Time of a call that succeeded.", ["backend"], buckets=SECONDS, registry=WORKER
)
BACKEND_TOKENS = Counter(
    "lovage_backend_tokens",
    "Tokens that a backend has read and written.",
    ["backend", "kind"],
    registry=WORKER,
)
BACKEND_IN_FLIGHT = Gauge(
    "lovage_backend_in_flight", "Calls to a backend that run now.", ["backend"], registry=WORKER
)
BACKEND_UP = Gauge(
    "lovage_backend_up",
    "1 while a backend answers and no circuit breaker of it is open.",
    ["backend"],
    registry=WORKER,
)
PEERS = Gauge(
    "lovage_peers", "Peers of a backend, as its last probe found them.", ["backend", "state"], registry=WORKER
)
PEER_CALLS = Counter(
    "lovage_peer_calls",
    "Calls to peers that have ended; one prediction may make several.",
    ["outcome"],
    registry=WORKER,
)

DELIVERIES = Counter(
    "lovage_webhook_attempts", "Attempts to deliver a webhook.", ["outcome"], registry=COURIER
)
DELIVERY_SECONDS = Histogram(
    "lovage_webhook_attempt_seconds", "Time of one attempt.", buckets=SECONDS, registry=COURIER
)

Described = Mapping[str, tuple[str, Sequence[str]]]  # name -> help text, labels
Readings = Mapping[str, Mapping[tuple[str, ...], float]]  # name -> label values -> value

# The whole platform, as the database has it: the same from every API process.
FLEET: Described = {
    "lovage_database_up": ("1 when the database answers; without it the other gauges are left out.", ()),
    "lovage_waiting": ("Waiting predictions, counted to at most 10,000 a queue.", ("queue",)),
    "lovage_waiting_oldest_seconds": ("Age of the prediction that has waited longest.", ("queue",)),
    "lovage_running": ("Predictions that a worker holds.", ()),
    "lovage_workers": ("Live workers.", ("device_class",)),
    "lovage_slots": ("Predictions that the live workers may hold.", ("device_class",)),
    "lovage_webhooks_pending": (
        "Webhooks to be delivered: new, or to be tried again (at most 10,000).",
        ("state",),
    ),
    "lovage_webhooks_overdue_seconds": ("How long the webhook that is due longest has been due.", ()),
    "lovage_expiry_overdue_seconds": (
        "How long the oldest of what is kept for a time should have been removed.",
        ("kind",),
    ),
}
OF_API: Described = {
    "lovage_readers": (
        "Callers that follow predictions: a stream, a wait for an end, or a WebSocket.",
        ("kind",),
    ),
    "lovage_events_connected": ("1 while events arrive from Redis.", ()),
    "lovage_messages_dropped_total": (
        "Messages to workers that were dropped because Redis was away or refused them; workers poll the"
        " database.",
        (),
    ),
    "lovage_messages_refused_total": (
        "Those of them that Redis refused: it is out of memory, or a key of ours is not what it should be.",
        (),
    ),
}
OF_WORKER: Described = {
    "lovage_worker_running": ("Predictions that this worker holds.", ()),
    "lovage_worker_slots": ("Predictions that it may hold.", ()),
    "lovage_worker_endings_waiting": (
        "Ended predictions whose end is not yet written: the database is away or slow.",
        (),
    ),
    "lovage_models": ("Models by state.", ("state",)),
    "lovage_model_memory_bytes": ("Memory of a loaded model.", ("model", "version")),
    "lovage_model_in_use": ("Predictions that a loaded model has to answer.", ("model", "version")),
    "lovage_model_budget_bytes": ("Memory that all loaded models together may take.", ()),
    "lovage_model_cpu_seconds_total": (
        "Processor time of a loaded model's process, user and system.",
        ("model", "version"),
    ),
    "lovage_model_loaded_share": (
        "Of a model that loads on a processor: about how much of it is in memory, 0 to 1.",
        ("model", "version"),
    ),
    "lovage_device_total_bytes": ("All memory of this worker's device.", ("device",)),
    "lovage_device_busy_share": (
        "Share of its time that the device computed just now, 0 to 1; where it tells.",
        ("device",),
    ),
    "lovage_device_free_bytes": ("Memory that is free where this worker's models live.", ("device",)),
    "lovage_disk_free_bytes": ("Space that is free where a folder lies: models or storage.", ("folder",)),
}
OF_COURIER: Described = {
    "lovage_webhooks_open": ("Deliveries under way.", ()),
}

# New name -> the name until 0.1, shown beside it with the same values for one release.
RENAMED: Mapping[str, str] = {
    "lovage_messages_dropped_total": "lovage_doorbells_dropped_total",
    "lovage_predictions_handed_back_total": "lovage_predictions_returned_total",
}
DROPPED_IN = "0.3"

_names: set[str] = set()


def bounded(name: str) -> str:
    """A label value that callers can make up: the first MOST_NAMES as they are, all others as `other`."""
    if name not in _names:
        if len(_names) >= MOST_NAMES:
            return "other"
        _names.add(name)
    return name


def tally(counter: Counter, values: Iterable[str]) -> None:
    """Counts a group by the one label of the counter."""
    for value, number in Tally(values).items():
        counter.labels(value).inc(number)


class Gauges(Collector):
    """Values read at a scrape, at most once in `keep_seconds`. `described` has every name that `read` may
    return."""

    def __init__(self, described: Described, read: Callable[[], Readings], keep_seconds: float = 0.0) -> None:
        self._described = described
        self._read = read
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._readings: Readings = {}
        self._read_at = float("-inf")

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            if time.monotonic() - self._read_at >= self._keep_seconds:
                self._readings = self._read()
                self._read_at = time.monotonic()
            readings = self._readings
        for name, values in readings.items():
            text, labels = self._described[name]
            family = (CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily)(
                name, text, labels=labels
            )
            for label_values, value in values.items():
                family.add_metric(label_values, value)
            yield family


class Exposition(Collector):
    """All metrics of one process, as Prometheus reads them."""

    def __init__(self, *parts: Collector) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        for part in self._parts:
            for family in part.collect():
                yield family
                if copy := _under_old_name(family):
                    yield copy

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """(body, content type): Prometheus' text, or OpenMetrics for those who accept it."""
        encode, content_type = choose_encoder(accept)
        return encode(self), content_type


def _under_old_name(family: Metric) -> Metric | None:
    """The same samples under the name of the release before; None for what was not renamed."""
    suffix = "_total" if family.type == "counter" else ""
    new = family.name + suffix
    if new not in RENAMED:
        return None
    old = RENAMED[new].removesuffix(suffix)
    copy = Metric(old, f"Deprecated: use {new}. Dropped in {DROPPED_IN}.", family.type)
    copy.samples = [
        sample._replace(name=old + sample.name.removeprefix(family.name)) for sample in family.samples
    ]
    return copy
