"""`lovage stats` as a person sees it."""

import json

from platform_under_test import UpPlatform

from app.domain.phases import PHASES


def test_stats_are_a_table_or_json(platform: UpPlatform) -> None:
    platform.lovage("run", "demo/echo", "-i", "text=counted")
    shown = platform.lovage("stats", "demo/echo", "--window", "1d").stdout
    for word in (*PHASES, "total", "p99", "batch of", "padding"):
        assert word in shown
    found = json.loads(platform.lovage("stats", "demo/echo", "--json").stdout)
    assert found["statuses"]["succeeded"] >= 1
    assert found["seconds"]["total"]["p50"] > 0


def test_stats_of_what_is_not_there_are_one_sentence(platform: UpPlatform) -> None:
    for arguments, said in (
        (("demo/nothing",), "could not be found"),
        (("demo/echo", "--window", "soon"), "window: must"),
    ):
        done = platform.lovage("stats", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
