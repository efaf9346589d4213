"""A worker's metrics: what ended here, phase by phase, and what it holds just now."""

from collections import Counter
from collections.abc import Sequence

from app.domain.phases import PHASES, phases
from app.domain.predictions import Prediction
from app.engine.engine import Engine
from app.observe import metrics
from app.observe.metrics import Exposition, Gauges, Readings
from app.worker.courier import Courier
from app.worker.ending_writer import EndingWriter
from app.worker.runner import Runner

MODEL_STATES = ("ready", "loading", "unresponsive", "unhealthy")
KEEP_SECONDS = 5.0  # measuring a model's memory reads its page tables
_phase_seconds = {name: metrics.PHASE_SECONDS.labels(name) for name in PHASES}
_queue, _run, _total = (metrics.PREDICTION_SECONDS.labels(name) for name in ("queue", "run", "total"))


def count_ended(ended: Sequence[Prediction]) -> None:
    """Recorded ends, a group at once: an end costs some ten microseconds here."""
    sums, batches = dict.fromkeys(PHASES, 0.0), Counter[str]()
    for prediction in ended:
        seconds = phases(prediction)
        for name, value in seconds.items():
            sums[name] += value
        _queue.observe(seconds["queue"])
        _run.observe(seconds["run"])
        _total.observe(sum(seconds.values()))
        if size := prediction.metrics.get("batch_size"):
            batches[prediction.model] += 1 / size
            metrics.BATCH_SIZE.observe(size)
            metrics.PADDING.observe(prediction.metrics.get("padding", 0.0))
    for name, value in sums.items():
        _phase_seconds[name].inc(value)
    for model, number in batches.items():
        metrics.BATCHES.labels(metrics.bounded(model)).inc(number)


def exposition(engine: Engine, runner: Runner, ending_writer: EndingWriter, slots: int) -> Exposition:
    """All metrics of an accelerator worker."""

    def read() -> Readings:
        models = engine.models()
        states = Counter(model.state for model in models)
        loaded = [((model.model, model.version[:12]), model) for model in models if model.state == "ready"]
        return {
            "lovage_worker_running": {(): len(runner.in_flight)},
            "lovage_worker_slots": {(): slots},
            "lovage_worker_endings_waiting": {(): ending_writer.waiting},
            "lovage_models": {(state,): states[state] for state in MODEL_STATES},
            "lovage_model_memory_bytes": {labels: model.bytes for labels, model in loaded},
            "lovage_model_in_use": {labels: model.in_use for labels, model in loaded},
            "lovage_model_budget_bytes": {(): engine.budget_bytes},
        }

    return Exposition(metrics.EVERYWHERE, metrics.WORKER, Gauges(metrics.OF_WORKER, read, KEEP_SECONDS))


def courier_exposition(courier: Courier) -> Exposition:
    """All metrics of a courier."""
    own = Gauges(metrics.OF_COURIER, lambda: {"lovage_webhooks_open": {(): courier.open}})
    return Exposition(metrics.EVERYWHERE, metrics.COURIER, own)
