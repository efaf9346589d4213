"""`make chaos` in short: some of its cells, through its own code, over a small load. The whole table takes
ten minutes."""

import pytest
from broken_platform import BrokenPlatform, echo

from scripts.chaos.__main__ import BREACHES, run_cell
from scripts.chaos.load import Load, Receiver

SECONDS = 3.0


@pytest.mark.parametrize("fault", ["redis FLUSHALL", "model SIGKILL", "worker SIGKILL"])
def test_a_fault_under_load_loses_doubles_and_mixes_up_nothing(platform: BrokenPlatform, fault: str) -> None:
    row = run_cell(fault, platform.state, SECONDS)
    print(f"{fault}: {row.counts}, flow after {row.flow} s")
    assert row.counts["accepted"] > 20, "there was hardly any load"
    assert {name: row.counts[name] for name in BREACHES} == dict.fromkeys(BREACHES, 0)


def test_a_request_of_which_two_predictions_were_made_is_counted(platform: BrokenPlatform) -> None:
    receiver = Receiver()
    load = Load(platform.state.api_url, platform.key, receiver)
    with platform.client() as client:
        for text in ("once", "twice", "twice"):
            echo(client, text).raise_for_status()
    load.count_doubled()
    receiver.go_down()
    assert load.doubled == 1
