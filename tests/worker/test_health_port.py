"""A worker's port: is it well, what has it counted, and who may ask."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import httpx
import pytest
from accepting import accept
from prometheus_client.parser import text_string_to_metric_families
from waiting import eventually

from app.composition_worker import health_options
from app.domain.errors import Unavailable
from app.domain.phases import PHASES
from app.engine import devices
from app.local.ports import choose_port
from app.observe import metrics
from app.observe.metrics import Exposition, Gauges
from app.settings import Settings
from app.worker import metrics as worker_metrics
from app.worker.health import HealthOptions, HealthPort, Pulse

TOKEN = "a-token-for-prometheus"


@pytest.fixture
def open_port(settings: Settings) -> Iterator[Callable[..., str]]:
    """Starts a port and gives its URL."""
    started = []

    def start(
        exposition: Exposition | None = None, ready: Callable[[], bool] = lambda: True, **changes: object
    ) -> str:
        changed = settings.model_copy(update={"health_port": choose_port(), **changes})
        port = HealthPort(health_options(changed), exposition or Exposition(metrics.EVERYWHERE), ready)
        started.append(port)
        return f"http://127.0.0.1:{port.start()}"

    yield start
    for port in started:
        port.stop()


def values(text: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_what_ran_is_counted_phase_by_phase(
    parts: SimpleNamespace, open_port: Callable[..., str], tmp_path: Path
) -> None:
    parts.ending_writer.on_ended = worker_metrics.count_ended
    measured = worker_metrics.DeviceAndFolders(
        devices.resolve("cpu"), {"models": tmp_path, "storage": tmp_path / "none"}
    )
    url = open_port(worker_metrics.exposition(parts.engine, parts.runner, parts.ending_writer, 16, measured))
    before = values(httpx.get(f"{url}/metrics").text)
    ids = accept(
        parts, {"text": "x", "seconds": 0.2}, {"text": "y", "seconds": 0.2}, {"text": "z", "fail": True}
    )
    parts.ending_writer.start()
    parts.intake.start()
    parts.intake.on_message(ids[0])
    ended = ("lovage_prediction_seconds_count", "total")
    eventually(lambda: values(httpx.get(f"{url}/metrics").text)[ended] - before[ended] >= 3)
    after = values(httpx.get(f"{url}/metrics").text)

    def grown(*name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    claimed = (grown("lovage_predictions_claimed_total", how) for how in ("message", "poll"))
    assert sum(claimed) == 3
    assert grown("lovage_predictions_ended_total", "succeeded") == 2
    assert grown("lovage_predictions_ended_total", "failed") == 1
    assert grown("lovage_phase_seconds_total", "run") >= 0.4
    assert {name for name in PHASES if ("lovage_phase_seconds_total", name) in after} == set(PHASES)
    assert grown("lovage_batch_size_count") == 3
    assert 0 < grown("lovage_batches_total", "ada/echo") <= 3.001
    assert grown("lovage_padding_share_count") == 3
    assert after[("lovage_worker_slots",)] == 16
    assert after[("lovage_disk_free_bytes", "models")] > 0
    assert after[("lovage_disk_free_bytes", "storage")] > 0, "it is made at the first output"
    assert 0 < after[("lovage_device_free_bytes", "cpu")] < after[("lovage_device_total_bytes", "cpu")]
    assert 0 <= after[("lovage_device_busy_share", "cpu")] <= 1
    assert grown("lovage_model_cache_total", "hit") + grown("lovage_model_cache_total", "miss") == 3

    def cpu_seconds() -> list[float]:
        read = values(httpx.get(f"{url}/metrics").text)
        name = "lovage_model_cpu_seconds_total"
        return [value for labels, value in read.items() if labels[:2] == (name, "ada/echo")]

    eventually(lambda: sum(cpu_seconds()) > 0)  # gauges are read anew after five seconds
    assert after[("lovage_model_budget_bytes",)] > 0


def test_a_model_that_loads_or_fails_or_dies_is_counted() -> None:
    from app.domain.work import END, Event, ModelSpec, Work
    from app.engine.engine import Engine, EngineOptions

    def now() -> dict[tuple[str, ...], float]:
        return values(Exposition(metrics.WORKER).render()[0].decode())

    before, engine = now(), Engine(EngineOptions())
    engine.start()
    for version, config, given in (
        ("good", {}, {}),
        ("bad", {"load_error": "no"}, {}),
        ("good", {}, {"crash": True}),
    ):
        spec = ModelSpec(version, f"metrics/{version}", "echo", config=config, development=True)
        events: SimpleQueue[Event] = SimpleQueue()
        engine.submit_all(spec, [(Work(f"{version}{given}", given), events.put)])
        while not isinstance(events.get(), END):
            pass
    after = now()
    engine.stop(0)
    assert after["lovage_model_loads_total", "metrics/good", "ready"] >= 1
    assert after["lovage_model_loads_total", "metrics/bad", "failed"] == 1
    assert after["lovage_model_crashes_total", "metrics/good"] == 1
    assert after["lovage_model_load_seconds_count",] > before["lovage_model_load_seconds_count",]


def test_health_is_answered_and_ready_asks(open_port: Callable[..., str]) -> None:
    def away() -> bool:
        raise Unavailable("the database cannot be reached")

    for ready, status in ((lambda: True, 200), (lambda: False, 503), (away, 503)):
        url = open_port(ready=ready)
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        assert httpx.get(f"{url}/ready").status_code == status
    assert httpx.get(f"{url}/").status_code == 404
    assert httpx.post(f"{url}/health").status_code == 501


def test_with_a_token_only_its_holder_reads_metrics(open_port: Callable[..., str]) -> None:
    url = open_port(metrics_token=TOKEN)
    assert httpx.get(f"{url}/metrics").status_code == 401
    assert httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.get(f"{url}/health").status_code == 200, "probes carry no token"


def test_without_a_token_only_this_machine_reads_metrics(settings: Settings) -> None:
    port = HealthPort(health_options(settings), Exposition(metrics.EVERYWHERE), lambda: True)
    statuses = {
        caller: port.answer("/metrics", {}, caller)[0]
        for caller in ("127.0.0.1", "::1", "10.0.0.5", "::ffff:10.0.0.5")
    }
    assert statuses == {"127.0.0.1": 200, "::1": 200, "10.0.0.5": 403, "::ffff:10.0.0.5": 403}


def test_metrics_can_be_switched_off_and_health_stays(open_port: Callable[..., str]) -> None:
    url = open_port(metrics=False)
    assert httpx.get(f"{url}/metrics").status_code == 404
    assert httpx.get(f"{url}/health").status_code == 200


def test_a_port_that_is_taken_or_not_wanted_stops_no_worker(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = settings.model_copy(update={"health_port": other.getsockname()[1]})
        for given in (taken, settings):
            port = HealthPort(health_options(given), Exposition(), lambda: True)
            assert port.start() == 0
            port.stop()


def test_a_caller_that_says_nothing_holds_nobody_up(open_port: Callable[..., str]) -> None:
    url = open_port()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert httpx.get(f"{url}/health", timeout=3).status_code == 200


def test_values_are_read_again_only_after_a_while() -> None:
    looks: list[int] = []

    def read() -> dict[str, dict[tuple[str, ...], float]]:
        looks.append(1)
        return {"x": {(): len(looks)}}

    kept, fresh = Gauges({"x": ("x", ())}, read, keep_seconds=60), Gauges({"x": ("x", ())}, read)
    assert [family.samples[0].value for _ in range(3) for family in kept.collect()] == [1, 1, 1]
    assert [family.samples[0].value for _ in range(2) for family in fresh.collect()] == [2, 3]


def test_a_label_that_callers_make_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_names", set())
    assert [metrics.bounded(f"m{number}") for number in range(metrics.MOST_NAMES)][
        -1
    ] == f"m{metrics.MOST_NAMES - 1}"
    assert metrics.bounded("one more") == "other"
    assert metrics.bounded("m3") == "m3"


def test_a_clock_is_ready_while_its_sweeps_are_taken() -> None:
    for seconds, ready in ((60.0, 200), (0.0, 503)):
        pulse = Pulse(seconds)
        port = HealthPort(HealthOptions("127.0.0.1", 0), Exposition(metrics.EVERYWHERE), pulse.is_fresh)
        assert port.answer("/ready", {}, "127.0.0.1")[0] == 503, "none was taken yet"
        pulse.beat()
        assert port.answer("/ready", {}, "127.0.0.1")[0] == ready
        assert port.answer("/health", {}, "127.0.0.1")[0] == 200
