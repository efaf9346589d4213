"""The line of status that `lovage run` shows while it waits."""

from typing import Any

import pytest

from app.cli.client_commands import phase

COMING = {"what": "model", "name": "ada/far", "worker": "cpu@here", "state": "downloading"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": "starting"}, "queued"),
        ({"status": "starting", "queue": {"position": 3}}, "queued, number 3"),
        (
            {"status": "starting", "queue": {"position": 1, "starts_in_seconds": {"p50": 4.4, "p90": 9.0}}},
            "queued, number 1, starts in about 4 s",
        ),
        ({"status": "starting", "waiting_for": {"what": "queue", "name": "cpu"}}, "queued"),
        ({"status": "starting", "waiting_for": COMING}, "downloading the model on cpu@here"),
        (
            {"status": "starting", "waiting_for": {**COMING, "percent": 30, "total_bytes": 2_000_000_000}},
            "downloading the model on cpu@here, 30 % of 2.0 GB",
        ),
        ({"status": "starting", "waiting_for": {"what": "batch", "name": "a/b"}}, "waiting for its batch"),
        (
            {"status": "starting", "waiting_for": {"what": "model", "name": "a/b"}, "logs": "installs\n"},
            "waiting for its model · installs",
        ),
        ({"status": "processing"}, "running"),
        ({"status": "processing", "logs": "one\ntwo\n"}, "running · two"),
        ({"status": "processing", "progress": {"done": 2, "total": 8}}, "running, step 2 of 8"),
    ],
)
def test_it_says_what_the_prediction_waits_for(answer: dict[str, Any], said: str) -> None:
    assert phase({"logs": "", **answer}) == said
