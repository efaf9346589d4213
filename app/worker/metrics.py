"""A worker's metrics: what ended here, phase by phase, and what it holds just now."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.domain.phases import PHASES, phases
from app.domain.predictions import Prediction
from app.engine.devices import Device, busy_share, free_bytes
from app.observe import metrics
from app.observe.metrics import Exposition, Gauges, Readings
from app.worker.courier import Courier
from app.worker.ending_writer import EndingWriter
from app.worker.runner import Runner
from app.worker.work_engine import WorkEngine

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


@dataclass(frozen=True, slots=True)
class DeviceAndFolders:
    """Where a worker's models and files are: its device, and folders by the name they have in the metrics."""

    device: Device
    folders: Mapping[str, Path]


def exposition(
    engine: WorkEngine, runner: Runner, ending_writer: EndingWriter, slots: int, measured: DeviceAndFolders
) -> Exposition:
    """All metrics of an accelerator worker."""

    def read() -> Readings:
        models = engine.models()
        states = Counter(model.state for model in models)
        loaded = [((model.model, model.version[:12]), model) for model in models if model.state == "ready"]
        loading = [model for model in models if model.loaded_bytes and model.bytes]
        device = measured.device
        return {
            "lovage_worker_running": {(): len(runner.in_flight)},
            "lovage_worker_slots": {(): slots},
            "lovage_worker_endings_waiting": {(): ending_writer.waiting},
            "lovage_models": {(state,): states[state] for state in MODEL_STATES},
            "lovage_model_memory_bytes": {labels: model.bytes for labels, model in loaded},
            "lovage_model_in_use": {labels: model.in_use for labels, model in loaded},
            "lovage_model_budget_bytes": {(): engine.budget_bytes},
            "lovage_model_cpu_seconds_total": {labels: _cpu_seconds(model.pid) for labels, model in loaded},
            "lovage_model_loaded_share": {
                (model.model, model.version[:12]): min(1.0, model.loaded_bytes / model.bytes)
                for model in loading
            },
            "lovage_device_total_bytes": {(device.id,): device.total_bytes},
            "lovage_device_free_bytes": {(device.id,): free_bytes(device)},
            "lovage_device_busy_share": _share(device.id, busy_share(device)),
            "lovage_disk_free_bytes": _free_on_disk(measured.folders),
        }

    return Exposition(metrics.EVERYWHERE, metrics.WORKER, Gauges(metrics.OF_WORKER, read, KEEP_SECONDS))


def _share(device: str, busy: float | None) -> dict[tuple[str, ...], float]:
    return {} if busy is None else {(device,): busy}


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 when it has just ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _free_on_disk(folders: Mapping[str, Path]) -> dict[tuple[str, ...], float]:
    """By name; for a folder that nothing was written to yet, where it will be made."""
    return {(name,): shutil.disk_usage(_existing(path)).free for name, path in folders.items()}


def _existing(path: Path) -> Path:
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_dir())


def courier_exposition(courier: Courier) -> Exposition:
    """All metrics of a courier."""
    own = Gauges(metrics.OF_COURIER, lambda: {"lovage_webhooks_open": {(): courier.open}})
    return Exposition(metrics.EVERYWHERE, metrics.COURIER, own)
