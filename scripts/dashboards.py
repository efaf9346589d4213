"""Writes Grafana's dashboards in deploy/grafana/dashboards from the short lists below.

python scripts/dashboards.py            write them
python scripts/dashboards.py --check    exit 1 if they differ from what is committed
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8  # in Grafana's grid of 24 columns


@dataclass(frozen=True)
class Chart:
    """A panel: its title, unit in Grafana's words, and (legend, expression) for each series."""

    title: str
    unit: str
    series: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


def percentiles(histogram: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """p50, p95 and p99 of a histogram over five minutes."""
    buckets = f"sum by (le) (rate({histogram}_bucket{labels}[5m]))"
    return tuple((f"p{q}", f"histogram_quantile({q / 100}, {buckets})") for q in (50, 95, 99))


DASHBOARDS = {
    "overview": (
        Chart("Database", "none", (("up", "max(lovage_database_up)"),), "stat"),
        Chart(
            "Live workers",
            "none",
            (("{{device_class}}", "max by (device_class) (lovage_workers)"),),
            "stat",
        ),
        Chart(
            "Predictions a second",
            "reqps",
            (
                ("accepted", "sum(rate(lovage_predictions_accepted_total[5m]))"),
                ("{{status}}", "sum by (status) (rate(lovage_predictions_ended_total[5m]))"),
            ),
        ),
        Chart("Time of a prediction", "s", percentiles("lovage_prediction_seconds", '{phase="total"}')),
        Chart("Waiting", "none", (("{{queue}}", "max by (queue) (lovage_waiting)"),)),
        Chart(
            "Age of the oldest that waits",
            "s",
            (("{{queue}}", "max by (queue) (lovage_waiting_oldest_seconds)"),),
        ),
        Chart(
            "Slots in use",
            "percentunit",
            (("in use", "max(lovage_running) / sum(max by (device_class) (lovage_slots))"),),
        ),
        Chart(
            "Requests a second by status",
            "reqps",
            (("{{status}}", "sum by (status) (rate(lovage_http_requests_total[5m]))"),),
        ),
        Chart("Time of a request", "s", percentiles("lovage_http_request_seconds")),
        Chart(
            "Callers that follow",
            "none",
            (("{{kind}}", "sum by (kind) (lovage_readers)"),),
        ),
    ),
    "models": (
        Chart("Loaded", "none", (("{{state}}", "sum by (state) (lovage_models)"),)),
        Chart(
            "Batches a second",
            "ops",
            (("{{model}}", "sum by (model) (rate(lovage_batches_total[5m]))"),),
        ),
        Chart(
            "Mean batch size",
            "none",
            (
                (
                    "size",
                    "sum(rate(lovage_batch_size_count[5m])) / sum(rate(lovage_batches_total[5m]))",
                ),
            ),
        ),
        Chart(
            "Padding",
            "percentunit",
            (
                (
                    "share",
                    "sum(rate(lovage_padding_share_sum[5m])) / sum(rate(lovage_padding_share_count[5m]))",
                ),
            ),
        ),
        Chart("Memory", "bytes", (("{{model}}", "sum by (model) (lovage_model_memory_bytes)"),)),
        Chart(
            "Processors used",
            "none",
            (("{{model}}", "sum by (model) (rate(lovage_model_cpu_seconds_total[5m]))"),),
        ),
        Chart("In hand", "none", (("{{model}}", "sum by (model) (lovage_model_in_use)"),)),
        Chart(
            "Loads and evictions",
            "none",
            (
                ("loads: {{outcome}}", "sum by (outcome) (increase(lovage_model_loads_total[5m]))"),
                ("evictions", "sum(increase(lovage_model_evictions_total[5m]))"),
            ),
        ),
        Chart(
            "Found their model loaded",
            "percentunit",
            (
                (
                    "share",
                    'sum(rate(lovage_model_cache_total{outcome="hit"}[5m]))'
                    " / sum(rate(lovage_model_cache_total[5m]))",
                ),
            ),
        ),
        Chart("Time of a load", "s", percentiles("lovage_model_load_seconds")),
        Chart(
            "Deaths of model processes",
            "none",
            (("all models", "sum(increase(lovage_model_crashes_total[5m])) or vector(0)"),),
        ),
    ),
    "workers": (
        Chart("Held by each worker", "none", (("{{instance}}", "lovage_worker_running"),)),
        Chart("Its slots", "none", (("{{instance}}", "lovage_worker_slots"),)),
        Chart(
            "Where the time went",
            "percentunit",
            (
                (
                    "{{phase}}",
                    "sum by (phase) (rate(lovage_phase_seconds_total[5m]))"
                    " / ignoring (phase) group_left () sum(rate(lovage_phase_seconds_total[5m]))",
                ),
            ),
        ),
        Chart(
            "Claimed a second",
            "ops",
            (("by {{how}}", "sum by (how) (rate(lovage_predictions_claimed_total[5m]))"),),
        ),
        Chart(
            "Handed back, and late results",
            "none",
            (
                ("handed back", "sum(increase(lovage_predictions_handed_back_total[5m]))"),
                ("late", "sum(increase(lovage_late_results_total[5m]))"),
            ),
        ),
        Chart("Ended and not yet written", "none", (("{{instance}}", "lovage_worker_endings_waiting"),)),
        Chart(
            "Memory that is free for models",
            "bytes",
            (("{{instance}} {{device}}", "lovage_device_free_bytes"),),
        ),
        Chart("Device busy", "percentunit", (("{{instance}} {{device}}", "lovage_device_busy_share"),)),
        Chart("Space on disk", "bytes", (("{{instance}} {{folder}}", "lovage_disk_free_bytes"),)),
        Chart("Memory of the processes", "bytes", (("{{instance}}", "process_resident_memory_bytes"),)),
        Chart("Sweeps a minute", "none", (("{{instance}}", "rate(lovage_sweeps_total[5m]) * 60"),)),
    ),
    "webhooks": (
        Chart("Pending", "none", (("{{state}}", "max by (state) (lovage_webhooks_pending)"),)),
        Chart("Overdue", "s", (("oldest", "max(lovage_webhooks_overdue_seconds)"),)),
        Chart(
            "Attempts a second",
            "ops",
            (("{{outcome}}", "sum by (outcome) (rate(lovage_webhook_attempts_total[5m]))"),),
        ),
        Chart("Time of an attempt", "s", percentiles("lovage_webhook_attempt_seconds")),
        Chart("Under way", "none", (("{{instance}}", "lovage_webhooks_open"),)),
    ),
}


def panel(number: int, chart: Chart) -> dict[str, Any]:
    """One panel of Grafana's JSON, two in a row."""
    column, row = number % 2, number // 2
    targets = [
        {"datasource": DATASOURCE, "expr": expression, "legendFormat": legend, "refId": chr(65 + n)}
        for n, (legend, expression) in enumerate(chart.series)
    ]
    return {
        "id": number + 1,
        "type": chart.kind,
        "title": chart.title,
        "datasource": DATASOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": chart.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def dashboard(name: str, charts: tuple[Chart, ...]) -> str:
    """A whole dashboard as Grafana imports it."""
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    value = {
        "uid": f"lovage-{name}",
        "title": f"Lovage: {name}",
        "tags": ["lovage"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": [panel(number, chart) for number, chart in enumerate(charts)],
    }
    return json.dumps(value, indent=1) + "\n"


def main() -> int:
    stale = []
    for name, charts in DASHBOARDS.items():
        path, text = FOLDER / f"{name}.json", dashboard(name, charts)
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not up to date: {', '.join(stale)}; run: python scripts/dashboards.py")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
