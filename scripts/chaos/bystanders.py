"""One caller's short `timeout` beside everybody's streams: `python -m scripts.chaos.bystanders`.

31 streams of a real text model run with and without one prediction of `"timeout": 0.5` beside them, five
times over in each round. Exit code 1 when a stream was restarted or another text than alone, a short one
did not end as its caller asked, or the streams gave more than a tenth fewer tokens a second than without.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import httpx

from app.local.platform_state import Platform
from scripts.chaos.streams import PROMPTS, Reader
from scripts.own_platform import UNLIMITED, judged

STREAMS, SHORT_ONES = 31, 5
TIMEOUT_SECONDS = 0.5
BEGUN = 10  # pieces that each stream has before the short ones come
LEAST_SHARE = 0.9


def run_round(client: httpx.Client, *, disturbed: bool) -> tuple[float, list[Reader]]:
    """(pieces a second of all streams, the streams)."""
    began = time.monotonic()
    readers = [Reader(client, PROMPTS[number % len(PROMPTS)]).start() for number in range(STREAMS)]
    if disturbed:
        while any(len(reader.pieces) < BEGUN for reader in readers):
            time.sleep(0.01)
        for _ in range(SHORT_ONES):
            _run_short(client)
    texts = [reader.finish() for reader in readers]
    seconds = max(reader.last for reader in readers) - began
    assert all(texts)
    return sum(len(reader.pieces) for reader in readers) / seconds, readers


def _run_short(client: httpx.Client) -> None:
    values = {"prompt": "It", "max_new_tokens": 500, "temperature": 0}
    asked = {"version": "demo/words", "input": values, "timeout": TIMEOUT_SECONDS}
    answer = client.post("/v1/predictions", json=asked, headers={"Prefer": "wait=60"})
    ended = answer.raise_for_status().json()
    if ended["status"] == "succeeded":
        return  # it was quick enough
    if ended["status"] != "canceled" or not ended["error"]:
        raise RuntimeError(f"a short one ended as {ended['status']}: {ended['error']}")


def wrong(readers: list[Reader], alone: dict[str, str]) -> int:
    """How many were restarted, or are another text than alone."""
    return sum(
        reader.events != ["done"] or "".join(reader.pieces) != alone[reader.prompt] for reader in readers
    )


def measure(platform: Platform, rounds: int) -> bool:
    """Prints what came of it; True when all is well."""
    headers = {"Authorization": f"Bearer {Path(platform.key_file).read_text().strip()}"}
    limits = httpx.Limits(max_connections=2 * STREAMS)
    with httpx.Client(
        base_url=platform.api_url, headers=headers, timeout=120, trust_env=False, limits=limits
    ) as client:
        alone = {prompt: Reader(client, prompt).start().finish() for prompt in PROMPTS}
        run_round(client, disturbed=False)
        rates: dict[bool, list[float]] = {False: [], True: []}
        bad = 0
        for number in range(rounds):
            for disturbed in (False, True):
                rate, readers = run_round(client, disturbed=disturbed)
                rates[disturbed].append(rate)
                bad += wrong(readers, alone)
            print(
                f"round {number + 1}: {rates[False][-1]:.0f} pieces/s without,"
                f" {rates[True][-1]:.0f} beside short ones",
                flush=True,
            )
    share = statistics.median(rates[True]) / statistics.median(rates[False])
    print(
        f"{rounds * SHORT_ONES} short ones beside {STREAMS} streams: {share:.2f} of the rate (wanted ≥"
        f" {LEAST_SHARE}), wrong {bad} (wanted 0)"
    )
    return not bad and share >= LEAST_SHARE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos.bystanders", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    return judged("lovage-bystanders-", lambda platform: measure(platform, arguments.rounds), **UNLIMITED)


if __name__ == "__main__":
    sys.exit(main())
