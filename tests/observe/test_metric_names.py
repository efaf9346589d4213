"""A renamed metric keeps its old name for one release."""

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from app.observe import metrics
from app.observe.metrics import Exposition, Gauges

NEW, OLD = "lovage_messages_dropped_total", "lovage_doorbells_dropped_total"
HANDED_BACK, RETURNED = "lovage_predictions_handed_back_total", "lovage_predictions_returned_total"


def families(exposition: Exposition) -> dict[str, tuple[str, dict[str, float]]]:
    """Name -> (help text, values by the samples' names)."""
    text = exposition.render()[0].decode()
    return {
        family.name: (family.documentation, {sample.name: sample.value for sample in family.samples})
        for family in text_string_to_metric_families(text)
    }


def test_a_gauge_that_was_renamed_has_the_same_value_under_its_old_name() -> None:
    shown = families(Exposition(Gauges(metrics.OF_API, lambda: {NEW: {(): 7.0}})))
    assert shown[NEW.removesuffix("_total")][1] == {NEW: 7.0}
    help_text, values = shown[OLD.removesuffix("_total")]
    assert values == {OLD: 7.0}
    assert help_text == f"Deprecated: use {NEW}. Dropped in {metrics.DROPPED_IN}."


def test_a_counter_that_was_renamed_has_the_same_value_under_its_old_name() -> None:
    registry = CollectorRegistry()
    Counter(HANDED_BACK, "Attempts.", registry=registry).inc(3)
    shown = families(Exposition(registry))
    assert shown[HANDED_BACK.removesuffix("_total")][1][HANDED_BACK] == 3
    assert shown[RETURNED.removesuffix("_total")][1][RETURNED] == 3


@pytest.mark.parametrize("registry", [metrics.API, metrics.WORKER, metrics.COURIER])
def test_a_metric_that_kept_its_name_is_shown_once(registry: CollectorRegistry) -> None:
    names = [family.name for family in Exposition(registry).collect()]
    assert len(names) == len(set(names))
