"""Traces: nothing of OpenTelemetry without an endpoint; what a span says with one."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from otlp_collector import Collector

from app.observe.tracing import Period, Tracing, open_tracing, traceparent_of

OFF = """
import sys
import app.main, app.composition_worker
from app.observe.tracing import open_tracing
assert open_tracing("", "lovage-api", "1") is None
# FastAPI and redis-py import its other parts by themselves, where they are installed.
assert not [name for name in sys.modules if name.startswith("opentelemetry.exporter")]
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.close()


def test_without_an_endpoint_no_process_imports_it() -> None:
    assert open_tracing("", "lovage-api", "1") is None
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_spans_have_their_own_times_and_are_below_their_parents(collector: Collector) -> None:
    tracing = Tracing(collector.url, "lovage-test", "1")
    root = tracing.begin("POST", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    below = tracing.write(
        "process", traceparent_of(root), Period(100.0, 102.5), attributes={"n": 1, "no": None}
    )
    tracing.write("batch", below, Period(101.0, 100.0), error="it broke")
    root.end()
    tracing.close()
    spans = collector.of_trace("a" * 32)
    assert spans["POST"].parent == "b" * 16
    assert (spans["process"].parent, spans["batch"].parent) == (spans["POST"].id, spans["process"].id)
    assert (spans["process"].seconds, spans["batch"].seconds) == (2.5, 0.0)
    assert spans["process"].attributes == {"n": 1}


def test_a_parent_that_is_none_begins_a_trace_of_its_own(collector: Collector) -> None:
    tracing = Tracing(collector.url, "lovage-test", "1")
    for parent in (None, "", "nonsense"):
        tracing.begin("POST", parent).end()
    tracing.close()
    assert [span.parent for span in collector.spans] == ["", "", ""]
    assert len({span.trace for span in collector.spans}) == 3
