"""Cost models: the fit, the measuring, the keeping."""

from pathlib import Path

import pytest
from engine_support import ending, spec, submit, work
from hypothesis import given
from hypothesis import strategies as st
from trial_runtime import Trial

from app.domain.work import Finished, ModelSpec
from app.engine import cost_model
from app.engine.batch_policy import CostModel, Limits
from app.engine.capacity import admissible

TERMS = st.sampled_from([0.0, 0.001, 0.02])


@given(TERMS, TERMS, st.sampled_from([1e-5, 3e-4]), st.sampled_from([0.0, 1e-7]))
def test_the_fit_finds_the_cost_model_that_made_the_samples(
    fixed: float, row: float, token: float, square: float
) -> None:
    true = CostModel(fixed, row, token, square)
    samples = [(rows, length, true.batch_cost(rows, length)) for rows, length in cost_model.SHAPES]
    fitted = cost_model.fit(samples)
    for rows, length in [*cost_model.SHAPES, (16, 100), (64, 128)]:
        assert fitted.batch_cost(rows, length) == pytest.approx(true.batch_cost(rows, length), rel=0.05)


@pytest.mark.alone
def test_measuring_keeps_its_budget_and_leaves_the_dear_shapes_out() -> None:
    runtime = Trial({"probe": True, "token_seconds": 1e-3})
    samples = cost_model.measure(runtime, budget=0.4)
    assert cost_model.MIN_SAMPLES <= len(samples) < len(cost_model.SHAPES)
    assert sum(seconds for _, _, seconds in samples) < 0.6


def test_a_runtime_that_cannot_be_measured_has_no_cost_model() -> None:
    assert cost_model.load_or_measure(Trial({}), spec(), "") is None
    assert cost_model.load_or_measure(Trial({"probe": True, "rows": 1}), spec(), "") is None


def test_a_cost_model_is_measured_once_for_a_version_and_device(tmp_path: Path) -> None:
    model = spec()
    measured = cost_model.load_or_measure(Trial({"probe": True}), model, str(tmp_path / "costs"))
    assert measured is not None
    assert (
        cost_model.load_or_measure(Trial({"probe": True, "rows": 1}), model, str(tmp_path / "costs"))
        == measured
    )
    other = ModelSpec(model.version, model.model, model.runtime, device="cuda:0")
    assert cost_model.file_name(other) != cost_model.file_name(model)
    [file] = (tmp_path / "costs").iterdir()
    file.write_text("{broken")
    assert cost_model.load_or_measure(Trial({"probe": True}), model, str(tmp_path / "costs")) is not None


def test_a_model_process_measures_after_loading(start_engine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    engine = start_engine(cost_folder=str(tmp_path))
    model = spec(probe=True)
    assert isinstance(ending(submit(engine, model, work("sizes"))), Finished)
    assert len(list(tmp_path.iterdir())) == 1


def test_more_is_admitted_of_a_quick_model() -> None:
    assert admissible(32, 0.0) == 64
    assert admissible(32, 10.0) == 64
    assert admissible(32, 0.02) == 100
    assert admissible(32, 0.001) == 256


def test_batches_grow_where_they_are_quick() -> None:
    slow, fast = CostModel(0.01, 0, 3e-4, 0), CostModel(0.005, 0, 1e-6, 0)
    assert cost_model.auto_limits(fast, Limits(32, 0), {}) == Limits(512, 512 * 64)
    assert cost_model.auto_limits(slow, Limits(32, 0), {"max_batch_size": "auto"}) == Limits(64, 64 * 64)
    assert cost_model.auto_limits(slow, Limits(32, 500), {"max_batch_tokens": 500}) == Limits(64, 500)
    assert cost_model.auto_limits(slow, Limits(32, 0), {"max_batch_tokens": 0}) == Limits(64, 0), (
        "no limit is one"
    )
    assert cost_model.auto_limits(fast, Limits(20, 0), {"max_batch_size": 20}) == Limits(20, 0)
