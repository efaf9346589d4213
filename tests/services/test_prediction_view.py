"""The public object: what callers see, and what no model can smuggle into it."""

from datetime import UTC, datetime

import pytest

from app.domain.predictions import Prediction, Status
from app.services.predictions.prediction_view import PredictionView, own_files
from app.storage.memory import MemoryStorage
from app.storage.signing import UrlSigner

ID = "01m7y0v4xwhr4p32e26y5vzzew"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def view() -> PredictionView:
    return PredictionView(MemoryStorage(UrlSigner("s")), "secret", "http://public.test", 60)


def prediction(**more) -> Prediction:
    return Prediction(ID, None, "v", "demo/echo", more.pop("status", Status.SUCCEEDED), "cpu", NOON, **more)


def test_times_are_iso_with_z_and_urls_follow_the_request(view: PredictionView) -> None:
    shown = view.render(prediction(stream=True), "http://here.test")
    assert shown["created_at"] == "2026-11-21T12:00:00.000000Z"
    assert shown["urls"]["get"] == f"http://here.test/v1/predictions/{ID}"
    assert view.id_from_stream_token(shown["urls"]["stream"].rpartition("/")[2]) == ID
    assert "stream" not in view.render(prediction())["urls"], "left out, never null"


@pytest.mark.parametrize(("public", "base"), [("", "http://asked.test"), ("http://public.test",) * 2])
def test_a_webhooks_links_are_public_ones_else_those_of_the_request_that_made_it(public, base) -> None:
    view = PredictionView(MemoryStorage(UrlSigner("s")), "secret", public, 60)
    own = {"$file": f"outputs/{ID}/1/a.png"}
    shown = view.render(prediction(output=[own], routing={"base_url": "http://asked.test", "queue": "cpu"}))
    assert shown["urls"]["get"] == f"{base}/v1/predictions/{ID}"
    assert shown["output"][0].startswith(f"{base}/v1/files/content/")
    assert "base_url" not in shown["routing"]


def test_a_wait_that_ran_out_says_starting_and_shows_no_output(view: PredictionView) -> None:
    running = prediction(status=Status.PROCESSING, output=["half"])
    assert view.render(running)["output"] == ["half"]
    shown = view.render(running, as_starting=True)
    assert (shown["status"], shown["output"]) == ("starting", None)


def test_only_files_of_this_very_prediction_are_signed(view: PredictionView) -> None:
    own, foreign = {"$file": f"outputs/{ID}/1/a.png"}, {"$file": "outputs/another/1/a.png"}
    mixed = ["a caption", own, foreign, {"deep": ["x", own]}]
    assert own_files(prediction(output=mixed)) == [own["$file"]] * 2
    caption, *shown, deep = view.render(prediction(output=mixed), "http://b")["output"]
    assert caption == "a caption"
    assert shown[0].startswith(f"http://b/v1/files/content/outputs/{ID}/1/a.png?")
    assert shown[1] == foreign
    assert deep["deep"][1].startswith("http://b/")


def test_forged_stream_tokens_are_refused(view: PredictionView) -> None:
    token = view.stream_token(ID)
    for forged in (
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        "x" + token[1:],
        "",
        ID,
        token + "x",
        "é" * 50,
    ):
        assert view.id_from_stream_token(forged) is None


def test_total_time_and_predict_time_are_seconds_beside_the_models_own_metrics(view: PredictionView) -> None:
    metrics = view.render(
        prediction(metrics={"run": 0.5, "tokens": 7}, started_at=second(1), completed_at=second(2))
    )["metrics"]
    assert (metrics["predict_time"], metrics["total_time"], metrics["tokens"]) == (0.5, 2.0, 7)
    assert (metrics["queue"], metrics["run"], metrics["store"]) == (1.0, 0.5, 0.5), "store is what is left"


def test_time_that_nobody_lived_to_measure_was_spent_running(view: PredictionView) -> None:
    metrics = view.render(prediction(started_at=second(1), completed_at=second(5)))["metrics"]
    assert (metrics["queue"], metrics["run"], metrics["store"]) == (1.0, 4.0, 0.0)


def test_a_clock_that_was_set_back_makes_no_phase_negative(view: PredictionView) -> None:
    metrics = view.render(prediction(metrics={"run": 3.0}, started_at=second(1), completed_at=second(2)))[
        "metrics"
    ]
    assert (metrics["run"], metrics["store"]) == (3.0, 0.0)


def second(number: int) -> datetime:
    return NOON.replace(second=number)
